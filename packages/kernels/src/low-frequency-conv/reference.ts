// The definition of the low-frequency convolution: direct sums in float64.

import type { HostArray } from "@everlong/core";
import { filterIndex, sequenceIndex } from "../fft-conv/reference.ts";
import { named } from "../inputs.ts";
import type { LowFrequencyConvParams } from "./op.ts";

/** `1/n sum over |b| <= last of exp(2 pi i b t / n)` for t < n, a Dirichlet kernel. */
function sumOfWaves(n: number, last: number): Float64Array {
  return Float64Array.from({ length: n }, (_, t) =>
    t === 0
      ? (2 * last + 1) / n
      : Math.sin(((2 * last + 1) * Math.PI * t) / n) / (n * Math.sin((Math.PI * t) / n)),
  );
}

/** `y[t] = post[t] sum_s kept[t - s] z[s]`, `kept = k * waves` with period 2 L, `z = pre u`; adjoint: `kept[s - t]`. */
export function lowFrequencyConvReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: LowFrequencyConvParams,
): void {
  const { u, k, preGate, postGate } = named(params.inputs, inputs);
  const y = outputs[0]!.data;
  const { batch, channels, length, at } = sequenceIndex(params.layout, u!.shape);
  const taps = k!.shape[params.layout === "bdl" ? 1 : 0]!;
  const tap = filterIndex(params.layout, channels, taps);
  const n = 2 * length;
  const waves = sumOfWaves(n, params.bins - 1);
  const kept = new Float64Array(n);
  const direction = params.adjoint ? -1 : 1;
  for (let d = 0; d < channels; d++) {
    for (let t = 0; t < n; t++) {
      kept[t] = 0;
      for (let j = 0; j < taps; j++) kept[t]! += k!.data[tap(d, j)]! * waves[(t - j + n) % n]!;
    }
    for (let b = 0; b < batch; b++) {
      const z = Float64Array.from({ length }, (_, s) => {
        const i = at(b, d, s);
        return u!.data[i]! * (preGate ? preGate.data[i]! : 1);
      });
      for (let t = 0; t < length; t++) {
        let sum = 0;
        for (let s = 0; s < length; s++) sum += kept[(direction * (t - s) + n) % n]! * z[s]!;
        const i = at(b, d, t);
        y[i] = sum * (postGate ? postGate.data[i]! : 1);
      }
    }
  }
}
