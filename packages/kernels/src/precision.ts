// Mixed precision: which calls store and multiply in half precision although they were given float32. A setting of the code that is being
// traced, like torch's autocast: products and what lies between them are half, sums, statistics and what asks for it are not.

import { cast, type Tensor } from "@everlong/core";
import { isHalf } from "./inputs.ts";

export interface MixedPrecision {
  /** What activations are stored and multiplied in. */
  readonly dtype: "bf16" | "f16";
  /** A rounded copy of a tensor, where it was made already: an optimiser's weights, all at once. */
  readonly copyOf?: (t: Tensor) => Tensor | undefined;
}

let current: MixedPrecision | undefined;

function within<R>(precision: MixedPrecision | undefined, fn: () => R): R {
  const outer = current;
  current = precision;
  try {
    return fn();
  } finally {
    current = outer;
  }
}

/**
 * Runs `fn` with products in half precision: {@link linear} and {@link embedding} take what they are given rounded to `dtype`, norms
 * keep its activations half; sums, statistics, softmax and losses stay float32.
 */
export const mixedPrecision = <R>(precision: MixedPrecision, fn: () => R): R => within(precision, fn);

/** Runs `fn`, part of a function under {@link mixedPrecision}, in the dtypes of what it is given: filters of long convolutions, for one. */
export const fullPrecision = <R>(fn: () => R): R => within(undefined, fn);

/** Whether activations are half where this is called. */
export const isMixed = (): boolean => current !== undefined;

/** What was half before it was widened, as it was; other tensors as they are. */
export function unwidened(t: Tensor): Tensor {
  const { operation, inputs } = t.node;
  if (!current || operation.name !== "cast" || t.dtype !== "f32") return t;
  return inputs[0]!.dtype === current.dtype ? inputs[0]! : t;
}

/** A float32 activation or weight in the dtype of products. */
export function narrowed(t: Tensor): Tensor {
  if (!current || t.dtype !== "f32") return t;
  const before = unwidened(t);
  return before === t ? (current.copyOf?.(t) ?? cast(t, current.dtype)) : before;
}

/** The result of a function whose sums are float32, half where activations are. */
export const activation = (t: Tensor): Tensor =>
  current && t.dtype === "f32" && !isHalf(t.dtype) ? cast(t, current.dtype) : t;
