// The long convolutions of Hyena's recurrence: causal, two-sided, in blocks of positions, and as the originals compute them.

import { ShapeError, add, mul, narrow, pad, reshape, type Tensor } from "@everlong/core";
import { fftConv, type FftConvOptions } from "@everlong/kernels";
import type { BlockFft } from "../filters/block-fft.ts";

/** Filters of one convolution. */
export interface HyenaTaps {
  /** `[T, C]`: lags 0, 1, ... */
  readonly ahead: Tensor;
  /** `[T, C]`: lags of the future. */
  readonly behind: Tensor | undefined;
  /** `[C]`: weight of the input itself. */
  readonly skip: Tensor | undefined;
}

export interface HyenaConvolution {
  /** Where tap 0 of the filters of the future acts. */
  readonly firstBackwardLag: 0 | -1;
  /** Positions of a block that is convolved alone; undefined: all are one. */
  readonly block: number | undefined;
  /** hyena-dna's `bidirectional`: input padded by half on both sides of a period without room for it. */
  readonly aliased: boolean;
  /** safari's blocks: this many equal ones, into whose transforms the whole filter enters and wraps. */
  readonly wrapped: number | undefined;
  /** In the place of the FFT; undefined: the FFT. */
  readonly transform: BlockFft | undefined;
}

/**
 * `postGate * (k * u + skip u)` with `u = preGate * v`, `v` and gates `[B, T, C]`.
 * @throws ShapeError where wrapped blocks do not divide T
 */
export function convolve(
  v: Tensor,
  filter: HyenaTaps,
  preGate: Tensor | undefined,
  postGate: Tensor | undefined,
  { block, aliased, wrapped, firstBackwardLag, transform }: HyenaConvolution,
): Tensor {
  const { ahead, behind, skip } = filter;
  if (block === undefined && wrapped === undefined && !aliased) {
    const how: FftConvOptions = {
      layout: "bld",
      ...(behind ? { mode: "two-sided", backward: behind, firstBackwardLag } : {}),
      ...(skip ? { skip } : {}),
      ...(preGate ? { preGate } : {}),
      ...(postGate ? { postGate } : {}),
    };
    return transform ? transform.conv(v, ahead, how) : fftConv(v, ahead, how);
  }
  const u = preGate ? mul(v, preGate) : v;
  const one = (rows: Tensor): Tensor => {
    const size = rows.shape[1]!;
    if (aliased) return aliasedTwoSided(rows, ahead);
    if (wrapped !== undefined) return narrow(circular(rows, ahead, 2 * size), 1, 0, size);
    const taps = (k: Tensor): Tensor => narrow(k, 0, 0, Math.min(size, k.shape[0]!));
    return fftConv(rows, taps(ahead), {
      layout: "bld",
      ...(behind ? { mode: "two-sided", backward: taps(behind), firstBackwardLag } : {}),
    });
  };
  const y = eachBlock(
    u,
    wrapped === undefined ? (block ?? v.shape[1]!) : equalParts(v.shape[1]!, wrapped),
    one,
  );
  const skipped = skip ? add(y, mul(u, skip)) : y;
  return postGate ? mul(skipped, postGate) : skipped;
}

function equalParts(time: number, count: number): number {
  if (time % count === 0) return time / count;
  throw new ShapeError("Hyena", "blocks do not divide the input", {
    expected: `a multiple of ${count}`,
    got: `${time}`,
  });
}

/** Applies `fn` to blocks of `size` positions, the last one filled up with zeros. */
function eachBlock(u: Tensor, size: number, fn: (rows: Tensor) => Tensor): Tensor {
  const [batch, time, width] = u.shape as [number, number, number];
  const count = Math.ceil(time / size);
  const filled = pad(u, [
    [0, 0],
    [0, count * size - time],
    [0, 0],
  ]);
  const y = fn(reshape(filled, [batch * count, size, width]));
  return narrow(reshape(y, [batch, count * size, width]), 1, 0, time);
}

/** Circular convolution of period `n`; filter and input are cut or padded to it. */
function circular(u: Tensor, k: Tensor, n: number): Tensor {
  const fit = (t: Tensor, axis: number): Tensor => {
    const have = t.shape[axis]!;
    if (have >= n) return narrow(t, axis, 0, n);
    return pad(
      t,
      t.shape.map((_, i) => (i === axis ? [0, n - have] : [0, 0])),
    );
  };
  return fftConv(fit(u, 1), fit(k, 0), { layout: "bld", mode: "circular" });
}

/** hyena-dna's `bidirectional`: input padded by half on both sides, period 2T, first T outputs. */
function aliasedTwoSided(u: Tensor, k: Tensor): Tensor {
  const time = u.shape[1]!;
  const half = Math.floor(time / 2);
  const padded = time + 2 * half;
  const before = Math.floor(padded / 2) - half;
  const wide = pad(u, [
    [0, 0],
    [before, padded - time - before],
    [0, 0],
  ]);
  return narrow(circular(wide, k, 2 * time), 1, 0, time);
}
