// Convolution of a part by plain sums; chunks make no difference to it.

import type { HostArray } from "@everlong/core";

const at = (t: HostArray, b: number, time: number, c: number): number =>
  (b * t.shape[1]! + time) * t.shape[2]! + c;

export function chunkedConvReference(inputs: readonly HostArray[], outputs: readonly HostArray[]): void {
  const [u, k, carry] = inputs as [HostArray, HostArray, HostArray];
  const [y, next] = outputs as [HostArray, HostArray];
  const [batch, time, channels] = u.shape as [number, number, number];
  const taps = k.shape[0]!;
  for (let b = 0; b < batch; b++)
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < time + taps - 1; t++) {
        let total = t < taps - 1 ? carry.data[at(carry, b, t, c)]! : 0;
        for (let s = Math.max(0, t - taps + 1); s <= Math.min(t, time - 1); s++)
          total += k.data[(t - s) * channels + c]! * u.data[at(u, b, s, c)]!;
        if (t < time) y.data[at(y, b, t, c)] = total;
        else next.data[at(next, b, t - time, c)] = total;
      }
}

export function chunkedConvFilterGradReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
): void {
  const [u, dy, dafter] = inputs as [HostArray, HostArray, HostArray];
  const dk = outputs[0]!;
  const [batch, time, channels] = u.shape as [number, number, number];
  const taps = dk.shape[0]!;
  for (let c = 0; c < channels; c++)
    for (let j = 0; j < taps; j++) {
      let total = 0;
      for (let b = 0; b < batch; b++)
        for (let s = 0; s < time; s++) {
          const t = s + j;
          const cotangent = t < time ? dy.data[at(dy, b, t, c)]! : dafter.data[at(dafter, b, t - time, c)]!;
          total += u.data[at(u, b, s, c)]! * cotangent;
        }
      dk.data[j * channels + c] = total;
    }
}
