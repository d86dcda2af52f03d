import type { HostArray } from "@everlong/core";
import { named } from "../inputs.ts";
import { trained, type SineNetworkParams } from "./params.ts";

interface Pass {
  /** Inputs of every layer, `[L, inputs]`. */
  readonly inputs: Float64Array[];
  /** Before the activations. */
  readonly before: Float64Array[];
  readonly last: Float64Array;
  readonly window: (row: number, channel: number) => number;
}

type Arrays = Readonly<Record<string, HostArray | undefined>>;

function forward(t: Arrays, { hidden, shift }: SineNetworkParams): Pass {
  const length = t["z"]!.shape[0]!;
  const inputs: Float64Array[] = [];
  const before: Float64Array[] = [];
  let h = Float64Array.from(t["z"]!.data);
  for (let i = 0; i <= hidden; i++) {
    const { shape, data } = t[`w${i}`]!;
    const [n, k] = shape as [number, number];
    const a = new Float64Array(length * n);
    for (let r = 0; r < length; r++)
      for (let o = 0; o < n; o++) {
        let sum = t[`b${i}`]?.data[o] ?? 0;
        for (let j = 0; j < k; j++) sum += h[r * k + j]! * data[o * k + j]!;
        a[r * n + o] = sum;
      }
    inputs.push(h);
    before.push(a);
    h = i < hidden ? a.map((x, at) => Math.sin(x * t["frequency"]!.data[at % n]!)) : a;
  }
  const { time, decay } = t;
  return {
    inputs,
    before,
    last: h,
    window: (row, c) => (time ? Math.exp(-time.data[row]! * Math.abs(decay!.data[c]!)) + shift : 1),
  };
}

export function sineNetworkReference(
  inputs: readonly HostArray[],
  [y]: readonly HostArray[],
  params: SineNetworkParams,
): void {
  const { last, window } = forward(named<string, HostArray>(params.inputs, inputs), params);
  const channels = y!.shape[1]!;
  last.forEach((x, i) => (y!.data[i] = x * window(Math.floor(i / channels), i % channels)));
}

export function sineNetworkGradReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: SineNetworkParams,
): void {
  const t = named<string, HostArray>(params.inputs, inputs);
  const pass = forward(t, params);
  const found = named<string, HostArray>(trained(params.inputs), outputs);
  for (const { data } of outputs) data.fill(0);
  const length = t["z"]!.shape[0]!;
  const channels = t["dy"]!.shape[1]!;
  const frequency = t["frequency"]!.data;
  let da = t["dy"]!.data.map((g, i) => g * pass.window(Math.floor(i / channels), i % channels));
  for (let i = params.hidden; i >= 0; i--) {
    const [n, k] = t[`w${i}`]!.shape as [number, number];
    const x = pass.inputs[i]!;
    const dx = i === 0 ? found["z"]!.data : new Float64Array(length * k);
    for (let r = 0; r < length; r++)
      for (let o = 0; o < n; o++) {
        const g = da[r * n + o]!;
        const bias = found[`b${i}`];
        if (bias) bias.data[o]! += g;
        for (let j = 0; j < k; j++) {
          found[`w${i}`]!.data[o * k + j]! += g * x[r * k + j]!;
          dx[r * k + j]! += g * t[`w${i}`]!.data[o * k + j]!;
        }
      }
    if (i === 0) continue;
    const a = pass.before[i - 1]!;
    da = dx.map((g, at) => {
      const f = frequency[at % k]!;
      const slope = g * Math.cos(a[at]! * f);
      found["frequency"]!.data[at % k]! += slope * a[at]!;
      return slope * f;
    });
  }
}
