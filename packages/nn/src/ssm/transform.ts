// Positive parameters under a transform: what is stored and what it means.

import { ConfigError, add, exp, relu, sigmoid, softplus, type Tensor } from "@everlong/core";

export const POSITIVE_TRANSFORMS = ["none", "exp", "relu", "sigmoid", "softplus"] as const;
export type PositiveTransform = (typeof POSITIVE_TRANSFORMS)[number];

/** Smallest value that a positive parameter starts from under a transform that cannot hold 0. */
const LEAST = 1e-4;

export function checkTransform(op: string, name: string): PositiveTransform {
  const found = POSITIVE_TRANSFORMS.find((t) => t === name);
  if (!found)
    throw new ConfigError(op, `unknown transform "${name}"`, { expected: POSITIVE_TRANSFORMS.join(", ") });
  return found;
}

/** The value of a stored parameter. */
export function positive(x: Tensor, transform: PositiveTransform): Tensor {
  if (transform === "exp") return exp(x);
  if (transform === "relu") return add(relu(x), LEAST);
  if (transform === "sigmoid") return sigmoid(x);
  if (transform === "softplus") return softplus(x);
  return x;
}

/** What is stored for a value; those below 1e-4 count as 1e-4. */
export function storedPositive(value: number, transform: PositiveTransform): number {
  const v = Math.max(value, LEAST);
  if (transform === "exp") return Math.log(v);
  if (transform === "sigmoid") return Math.log(v / (1 - v));
  if (transform === "softplus") return Math.log(Math.expm1(v));
  return v;
}
