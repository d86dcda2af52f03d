import type { HostArray } from "@everlong/core";
import { sequenceIndex } from "../fft-conv/reference.ts";
import { named } from "../inputs.ts";
import type { ShortConvGradParams, ShortConvParams } from "./op.ts";

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));

/** `z[t] = bias + sum_j w[j] x[t - (W - 1) + j]` with zeros before the start; `y = z`, or `z sigmoid(z)`. */
export function shortConvReference(
  inputs: readonly HostArray[],
  [y]: readonly HostArray[],
  params: ShortConvParams,
): void {
  const { x, w, bias, inputBias } = named(params.inputs, inputs);
  const { batch, channels, length, at } = sequenceIndex(params.layout, x!.shape);
  const width = w!.shape[1]!;
  for (let b = 0; b < batch; b++) {
    for (let d = 0; d < channels; d++) {
      const more = inputBias ? inputBias.data[d]! : 0;
      for (let t = 0; t < length; t++) {
        let z = bias ? bias.data[d]! : 0;
        for (let j = Math.max(0, width - 1 - t); j < width; j++)
          z += w!.data[d * width + j]! * (x!.data[at(b, d, t - width + 1 + j)]! + more);
        y!.data[at(b, d, t)] = params.silu ? z * sigmoid(z) : z;
      }
    }
  }
}

/** With `dz = dy` (or `dy silu'(z)`): `dx[t] = sum_j w[j] dz[t + W - 1 - j]`, `dw[j] = sum dz[t] x[t - W + 1 + j]`, `dbias = sum dz`. */
export function shortConvGradReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: ShortConvGradParams,
): void {
  const { x, w, bias, dy } = named(params.inputs, inputs);
  const [dx, dw, dbias] = outputs;
  const { batch, channels, length, at } = sequenceIndex(params.layout, x!.shape);
  const width = w!.shape[1]!;
  dx!.data.fill(0);
  dw!.data.fill(0);
  dbias?.data.fill(0);
  for (let b = 0; b < batch; b++) {
    for (let d = 0; d < channels; d++) {
      for (let t = 0; t < length; t++) {
        let dz = dy!.data[at(b, d, t)]!;
        const first = Math.max(0, width - 1 - t);
        if (params.silu) {
          let z = bias ? bias.data[d]! : 0;
          for (let j = first; j < width; j++)
            z += w!.data[d * width + j]! * x!.data[at(b, d, t - width + 1 + j)]!;
          const s = sigmoid(z);
          dz *= s * (1 + z * (1 - s));
        }
        for (let j = first; j < width; j++) {
          const s = at(b, d, t - width + 1 + j);
          dx!.data[s]! += w!.data[d * width + j]! * dz;
          dw!.data[d * width + j]! += dz * x!.data[s]!;
        }
        if (dbias) dbias.data[d]! += dz;
      }
    }
  }
}
