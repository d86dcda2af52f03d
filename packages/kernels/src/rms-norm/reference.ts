import type { HostArray } from "@everlong/core";
import { named } from "../inputs.ts";
import type { NormParams } from "../norm.ts";
import type { RmsNormGradParams } from "./op.ts";

/** Per row: `y = x rstd weight + bias`, `rstd = 1 / sqrt(avg(x^2) + eps)`. */
export function rmsNormReference(
  inputs: readonly HostArray[],
  [y, rstd]: readonly HostArray[],
  params: NormParams,
): void {
  const { x, weight, bias } = named(params.inputs, inputs);
  const n = x!.shape[x!.shape.length - 1]!;
  for (let row = 0; row < rstd!.data.length; row++) {
    const at = row * n;
    let squares = 0;
    for (let i = 0; i < n; i++) squares += x!.data[at + i]! ** 2;
    const r = 1 / Math.sqrt(squares / n + params.eps);
    rstd!.data[row] = r;
    for (let i = 0; i < n; i++) {
      y!.data[at + i] = x!.data[at + i]! * r * (weight ? weight.data[i]! : 1) + (bias ? bias.data[i]! : 0);
    }
  }
}

/** With `h = x rstd`, `g = dy weight`: `dx = rstd (g - h avg(g h))`, `dweight = sum dy h`, `dbias = sum dy`. */
export function rmsNormGradReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: RmsNormGradParams,
): void {
  const { x, weight, rstd, dy } = named(params.inputs, inputs);
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
    const r = rstd!.data[row]!;
    let sumGH = 0;
    for (let i = 0; i < n; i++)
      sumGH += dy!.data[at + i]! * (weight ? weight.data[i]! : 1) * x!.data[at + i]! * r;
    for (let i = 0; i < n; i++) {
      const h = x!.data[at + i]! * r;
      const g = dy!.data[at + i]! * (weight ? weight.data[i]! : 1);
      dx.data[at + i] = r * (g - (h * sumGH) / n);
      if (dweight) dweight.data[i]! += dy!.data[at + i]! * h;
      if (dbias) dbias.data[i]! += dy!.data[at + i]!;
    }
  }
}
