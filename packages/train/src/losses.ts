// Losses besides the cross-entropy of classes, which is a fused op.

import {
  abs,
  add,
  exp,
  log1p,
  maximum,
  mean,
  mul,
  neg,
  square,
  sub,
  where,
  less,
  sum,
  type Tensor,
} from "@everlong/core";

/** How per-element losses become one number; `none` keeps them. */
export type Reduction = "mean" | "sum" | "none";

const reduced = (losses: Tensor, reduction: Reduction): Tensor =>
  reduction === "none" ? losses : reduction === "sum" ? sum(losses) : mean(losses);

/** `(x - y)^2`. */
export const squaredError = (x: Tensor, y: Tensor, reduction: Reduction = "mean"): Tensor =>
  reduced(square(sub(x, y)), reduction);

/** Quadratic up to `delta`, linear beyond (Huber 1964): `d^2 / 2` or `delta (|d| - delta / 2)`. */
export function huber(
  x: Tensor,
  y: Tensor,
  options: { readonly delta?: number; readonly reduction?: Reduction } = {},
): Tensor {
  const { delta = 1, reduction = "mean" } = options;
  const d = sub(x, y);
  const size = abs(d);
  return reduced(where(less(size, delta), mul(square(d), 0.5), mul(sub(size, delta / 2), delta)), reduction);
}

/**
 * Cross-entropy of probabilities given as logits with targets in [0, 1], without overflow:
 * `max(z, 0) - z y + log(1 + exp(-|z|))`.
 */
export const binaryCrossEntropy = (logits: Tensor, targets: Tensor, reduction: Reduction = "mean"): Tensor =>
  reduced(add(sub(maximum(logits, 0), mul(logits, targets)), log1p(exp(neg(abs(logits))))), reduction);
