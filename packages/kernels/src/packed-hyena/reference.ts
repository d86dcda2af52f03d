import type { HostArray } from "@everlong/core";
import { named } from "../inputs.ts";
import type { PackedHyenaParams } from "./op.ts";

/** Direct sums over lags. */
export function packedHyenaReference(
  inputs: readonly HostArray[],
  [y]: readonly HostArray[],
  params: PackedHyenaParams,
): void {
  const { u, k, skip } = named(params.inputs, inputs);
  const [batch, time, channels] = y!.shape as [number, number, number];
  const taps = k!.shape[0]!;
  const at = (b: number, t: number, part: number, c: number): number =>
    u!.data[((b * time + t) * 3 + part) * channels + c]!;
  for (let b = 0; b < batch; b++)
    for (let t = 0; t < time; t++)
      for (let c = 0; c < channels; c++) {
        let sum = (skip?.data[c] ?? 0) * at(b, t, 1, c) * at(b, t, 2, c);
        for (let j = 0; j < taps && j <= t; j++)
          sum += k!.data[j * channels + c]! * at(b, t - j, 1, c) * at(b, t - j, 2, c);
        y!.data[(b * time + t) * channels + c] = at(b, t, 0, c) * sum;
      }
}

/** The same sums, every product differentiated. */
export function packedHyenaGradReference(
  inputs: readonly HostArray[],
  [du, dk, dskip]: readonly HostArray[],
  params: PackedHyenaParams,
): void {
  const { u, k, skip, dy } = named(params.inputs, inputs);
  const [batch, time, channels] = dy!.shape as [number, number, number];
  const taps = k!.shape[0]!;
  const place = (b: number, t: number, part: number, c: number): number =>
    ((b * time + t) * 3 + part) * channels + c;
  for (const out of [du, dk, dskip]) out?.data.fill(0);
  for (let b = 0; b < batch; b++)
    for (let t = 0; t < time; t++)
      for (let c = 0; c < channels; c++) {
        const g = dy!.data[(b * time + t) * channels + c]!;
        const post = u!.data[place(b, t, 0, c)]!;
        const lag = (weight: number, s: number, collect: (x: number) => void): void => {
          const [pre, v] = [u!.data[place(b, s, 1, c)]!, u!.data[place(b, s, 2, c)]!];
          du!.data[place(b, t, 0, c)]! += g * weight * pre * v;
          du!.data[place(b, s, 1, c)]! += g * post * weight * v;
          du!.data[place(b, s, 2, c)]! += g * post * weight * pre;
          collect(g * post * pre * v);
        };
        for (let j = 0; j < taps && j <= t; j++)
          lag(k!.data[j * channels + c]!, t - j, (x) => (dk!.data[j * channels + c]! += x));
        if (skip) lag(skip.data[c]!, t, (x) => (dskip!.data[c]! += x));
      }
}
