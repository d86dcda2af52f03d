import type { HostArray } from "@everlong/core";
import { named } from "../inputs.ts";
import { erf } from "./erf.ts";
import type { Activation, LinearParams } from "./op.ts";

export const activate = (name: Activation, z: number): number => {
  switch (name) {
    case "none":
      return z;
    case "relu":
      return Math.max(z, 0);
    case "silu":
      return z / (1 + Math.exp(-z));
    case "gelu":
      return 0.5 * z * (1 + erf(z * Math.SQRT1_2));
    case "gelu-tanh":
      return 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
  }
};

/** `z = x w^T + bias`, `y = activation(z)`. */
export function linearReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: LinearParams,
): void {
  const { x, w, bias } = named(params.inputs, inputs);
  const [n, k] = w!.shape as [number, number];
  const rows = k === 0 ? outputs[0]!.data.length / n : x!.data.length / k;
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < n; c++) {
      let z = bias ? bias.data[c]! : 0;
      for (let i = 0; i < k; i++) z += x!.data[r * k + i]! * w!.data[c * k + i]!;
      outputs[0]!.data[r * n + c] = activate(params.activation, z);
      if (outputs[1]) outputs[1].data[r * n + c] = z;
    }
  }
}

/** `dw = dz^T x`, `dbias` the sums of dz's columns; for each of the layers that there may be. */
export function linearWeightGradReference(
  [dz, x]: readonly HostArray[],
  [dw, dbias]: readonly HostArray[],
): void {
  const [m, n] = dz!.shape.slice(-2) as [number, number];
  const k = x!.shape.at(-1)!;
  const layers = dz!.shape.length === 3 ? dz!.shape[0]! : 1;
  dw!.data.fill(0);
  dbias?.data.fill(0);
  for (let r = 0; r < layers * m; r++) {
    const first = Math.floor(r / m) * n;
    for (let c = 0; c < n; c++) {
      const g = dz!.data[r * n + c]!;
      for (let i = 0; i < k; i++) dw!.data[(first + c) * k + i]! += g * x!.data[r * k + i]!;
      if (dbias) dbias.data[first + c]! += g;
    }
  }
}
