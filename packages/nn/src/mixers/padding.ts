// Padding for mixers that carry a state: positions that are not real change nothing, and what a continuation needs is
// taken from the last real ones.

import {
  argsort,
  broadcastTo,
  cast,
  concat,
  narrow,
  pad,
  reshape,
  takeAlong,
  where,
  type Tensor,
} from "@everlong/core";

/** `x` `[B, T, ...]` with zeros where `mask` `[B, T]` is false. */
export function zeroPadding(x: Tensor, mask: Tensor | undefined): Tensor {
  if (!mask) return x;
  return where(reshape(mask, [...mask.shape, ...x.shape.slice(2).map(() => 1)]), x, 0);
}

/** The last `count` real positions of `x` `[B, T, C]`: `[B, count, C]`, with zeros in front where there are fewer. */
export function lastReal(x: Tensor, count: number, mask: Tensor | undefined): Tensor {
  const time = x.shape[1]!;
  let ordered = x;
  if (mask) {
    // A stable sort puts the real positions last and keeps their order.
    const order = argsort(cast(mask, "i32"));
    const wide = broadcastTo(reshape(order, [...order.shape, 1]), x.shape);
    ordered = takeAlong(zeroPadding(x, mask), wide, 1);
  }
  const from = Math.max(0, time - count);
  return pad(narrow(ordered, 1, from, time), [
    [0, 0],
    [count - (time - from), 0],
    [0, 0],
  ]);
}

/** Every position's predecessor, `[B, T, C]`; the first one's is zero, a masked one counts as zero. */
export function previous(x: Tensor, mask?: Tensor): Tensor {
  const real = zeroPadding(x, mask);
  const time = x.shape[1]!;
  return pad(narrow(real, 1, 0, time - 1), [
    [0, 0],
    [1, 0],
    [0, 0],
  ]);
}

/** A window of the last `tail.shape[1]` inputs, `fresh` `[B, C]` appended: `[B, count + 1, C]`. */
export const appended = (tail: Tensor, fresh: Tensor): Tensor =>
  concat([tail, reshape(fresh, [fresh.shape[0]!, 1, fresh.shape[1]!])], 1);
