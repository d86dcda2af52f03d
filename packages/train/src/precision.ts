// What the products of a training step are computed in.

import { ConfigError, type Device, type Tensor } from "@everlong/core";
import { mixedPrecision, roundedCopies } from "@everlong/kernels";

export const PRECISIONS = ["f32", "bf16"] as const;
/**
 * `f32`: everything in float32. `bf16`: activations are stored and multiplied in bf16; weights, their gradients, the optimiser's state, sums,
 * statistics of norms, softmax, losses, and parameters of filters and recurrences stay float32. Needs a device whose tensor cores multiply
 * bf16: CUDA.
 */
export type Precision = (typeof PRECISIONS)[number];

/** @throws ConfigError for a precision that is not known or that the device does not have */
export function checkPrecision(precision: Precision | undefined, device: Device): void {
  if (precision === undefined || precision === "f32") return;
  if (!PRECISIONS.includes(precision)) {
    throw new ConfigError("train", "precision is not known", {
      expected: PRECISIONS.join(" or "),
      got: String(precision),
    });
  }
  if (!device.name.startsWith("cuda")) {
    throw new ConfigError("train", "the device does not multiply in bf16", {
      expected: "cuda",
      got: device.name,
      hint: "Leave out the precision, or train on a GPU.",
    });
  }
}

/** Runs a loss in a precision. Weights are rounded once, all in one call; gradients reach them in float32. */
export function inPrecision<R>(precision: Precision | undefined, weights: readonly Tensor[], fn: () => R): R {
  if (precision === undefined || precision === "f32") return fn();
  const keyOf = (t: Tensor): string => `${t.node.id}.${t.index}`;
  const masters = weights.filter((t) => t.dtype === "f32");
  const rounded = roundedCopies(masters, precision);
  const copies = new Map(masters.map((t, i) => [keyOf(t), rounded[i]!]));
  return mixedPrecision({ dtype: precision, copyOf: (t) => copies.get(keyOf(t)) }, fn);
}
