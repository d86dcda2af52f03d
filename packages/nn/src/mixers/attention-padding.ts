// Masks for kernels that know lengths: real positions move to the front, keeping their order, and back afterwards.

import {
  argsort,
  broadcastTo,
  cast,
  cumsum,
  full,
  matmul,
  maximum,
  not,
  permute,
  repeat,
  reshape,
  sub,
  sum,
  takeAlong,
  type Tensor,
} from "@everlong/core";

/** How to move the real positions of a mask to the front. */
export interface Packing {
  /** `[B, T]` i32: which position comes n-th, and the inverse. */
  readonly order: Tensor;
  readonly inverse: Tensor;
  /** `[B]` i32: number of real positions. */
  readonly lengths: Tensor;
}

/** @param mask `[B, T]` bool */
export function packing(mask: Tensor | undefined): Packing | undefined {
  if (!mask) return undefined;
  const order = argsort(cast(not(mask), "i32"));
  return { order, inverse: argsort(order), lengths: sum(cast(mask, "i32"), -1) };
}

/** Positions `[B, T]` i32 that count real tokens only; padding gets some valid number. */
export const compactPositions = (mask: Tensor): Tensor => maximum(sub(cumsum(cast(mask, "i32"), -1), 1), 0);

const move = (x: Tensor, order: Tensor): Tensor => {
  const wide = reshape(order, [...order.shape, ...x.shape.slice(2).map(() => 1)]);
  return takeAlong(x, broadcastTo(wide, x.shape), 1);
};

/** `[B, T, ...]` with real positions in front. */
export const pack = (x: Tensor, how: Packing | undefined): Tensor => (how ? move(x, how.order) : x);
export const unpack = (x: Tensor, how: Packing | undefined): Tensor => (how ? move(x, how.inverse) : x);

/** `[B]` i32: every position of `[B, T, ...]` is real. */
export const fullLengths = (x: Tensor): Tensor =>
  full([x.shape[0]!], x.shape[1]!, { dtype: "i32", device: x.device });

/** Weights `[B, H, T, S]` times values `[B, S, G, V]`: `[B, T, H, V]`. */
export const weightedValues = (weights: Tensor, v: Tensor): Tensor =>
  permute(
    matmul(weights, permute(repeat(v, weights.shape[1]! / v.shape[2]!, 2), [0, 2, 1, 3])),
    [0, 2, 1, 3],
  );
