import type { HostArray } from "@everlong/core";
import { named } from "../inputs.ts";
import type { NormParams } from "../norm.ts";
import type { NormGradParams } from "./op.ts";

/** Per row: `y = (x - mean) rstd weight + bias`, `rstd = 1 / sqrt(var + eps)` with the biased variance. */
export function layerNormReference(
  inputs: readonly HostArray[],
  [y, mean, rstd]: readonly HostArray[],
  params: NormParams,
): void {
  const { x, weight, bias } = named(params.inputs, inputs);
  const n = x!.shape[x!.shape.length - 1]!;
  for (let row = 0; row < mean!.data.length; row++) {
    const at = row * n;
    let total = 0;
    for (let i = 0; i < n; i++) total += x!.data[at + i]!;
    const m = total / n;
    let squares = 0;
    for (let i = 0; i < n; i++) squares += (x!.data[at + i]! - m) ** 2;
    const r = 1 / Math.sqrt(squares / n + params.eps);
    mean!.data[row] = m;
    rstd!.data[row] = r;
    for (let i = 0; i < n; i++) {
      y!.data[at + i] =
        (x!.data[at + i]! - m) * r * (weight ? weight.data[i]! : 1) + (bias ? bias.data[i]! : 0);
    }
  }
}

/** With `h = (x - mean) rstd`, `g = dy weight`: `dx = rstd (g - avg(g) - h avg(g h))`, `dweight = sum dy h`, `dbias = sum dy`. */
export function layerNormGradReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: NormGradParams,
): void {
  const { x, weight, mean, rstd, dy } = named(params.inputs, inputs);
  const [dx, dweight, dbias] = [
    outputs[0]!,
    weight && outputs[1],
    params.bias ? outputs[outputs.length - 1] : undefined,
  ];
  const n = x!.shape[x!.shape.length - 1]!;
  dweight?.data.fill(0);
  dbias?.data.fill(0);
  for (let row = 0; row < rstd!.data.length; row++) {
    const at = row * n;
    const m = mean!.data[row]!;
    const r = rstd!.data[row]!;
    let sumG = 0;
    let sumGH = 0;
    for (let i = 0; i < n; i++) {
      const g = dy!.data[at + i]! * (weight ? weight.data[i]! : 1);
      sumG += g;
      sumGH += g * (x!.data[at + i]! - m) * r;
    }
    for (let i = 0; i < n; i++) {
      const h = (x!.data[at + i]! - m) * r;
      const g = dy!.data[at + i]! * (weight ? weight.data[i]! : 1);
      dx.data[at + i] = r * (g - sumG / n - (h * sumGH) / n);
      if (dweight) dweight.data[i]! += dy!.data[at + i]! * h;
      if (dbias) dbias.data[i]! += dy!.data[at + i]!;
    }
  }
}
