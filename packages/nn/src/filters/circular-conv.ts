// Convolution of a given period, as originals compute it whose filters may be longer than the period has room for.

import { narrow, pad, type Tensor } from "@everlong/core";
import { fftConv } from "@everlong/kernels";

/**
 * Circular convolution of `u` `[B, T, R]` with `k` `[J, R]`, both cut or padded to `period`, plus `skip` `[R]` times `u`.
 * @returns the first T positions, `[B, T, R]`
 */
export function circularConv(u: Tensor, k: Tensor, skip: Tensor, period: number): Tensor {
  const time = u.shape[1]!;
  const input = pad(u, [
    [0, period - time],
    [0, 0],
  ]);
  const filter = narrow(k, 0, 0, Math.min(k.shape[0]!, period));
  return narrow(fftConv(input, filter, { layout: "bld", mode: "circular", skip }), 1, 0, time);
}
