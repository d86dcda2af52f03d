// What the ops of the long convolution share: layouts, checks of sequences, cost.

import { DTYPES, ShapeError, show, type Cost, type TensorType } from "@everlong/core";
import { need, needFloat, wideDtype } from "../inputs.ts";

/** Order of axes: `[B, D, L]` with filters `[D, J]`, or `[B, L, D]` with filters `[J, D]`. */
export type Layout = "bdl" | "bld";

/** Positions of the axes in a sequence `[B, D, L]` or `[B, L, D]`. */
export const axesOf = (layout: Layout): { time: number; channel: number } =>
  layout === "bdl" ? { time: 2, channel: 1 } : { time: 1, channel: 2 };

/** Checks u, what has its shape, the skip weights (f32 beside halves), and that every tap reaches an input. */
export function checkSequences(
  op: string,
  params: { readonly layout: Layout; readonly circular: boolean; readonly origin: number },
  types: Readonly<Record<string, TensorType | undefined>>,
  taps: number,
): void {
  const u = types["u"]!;
  const letters = params.layout === "bdl" ? "[B, D, L]" : "[B, L, D]";
  need(op, "u", u, [undefined, undefined, undefined], letters);
  const dtype = needFloat(op, "u", u);
  const length = u.shape[axesOf(params.layout).time]!;
  if (length === 0) throw new ShapeError(op, "sequences are empty", { got: show(u.shape) });
  for (const name of ["dy", "preGate", "postGate"]) {
    const t = types[name];
    if (t) need(op, name, t, u.shape, letters, dtype);
  }
  const skip = types["skip"];
  if (skip) need(op, "skip", skip, [u.shape[axesOf(params.layout).channel]], "[D]", wideDtype(dtype));
  checkLags(op, params, taps, length);
}

/** Checks that every tap of a filter reaches an input of a sequence of `length`. */
export function checkLags(
  op: string,
  { circular, origin }: { readonly circular: boolean; readonly origin: number },
  taps: number,
  length: number,
): void {
  const fits = circular ? origin === 0 && taps <= length : origin < length && taps - 1 - origin < length;
  if (taps < 1 || origin < 0 || origin >= taps || !fits) {
    throw new ShapeError(op, "the filter reaches beyond the sequence", {
      expected: circular ? `1..${length} taps` : `lags within ${1 - length}..${length - 1}`,
      got: `${taps} taps, lag 0 at tap ${origin}`,
    });
  }
}

/** Cost of `transforms` real FFTs of length 2 L per row of u, and the pointwise work; bytes of all tensors. */
export function convolutionCost(
  u: TensorType,
  layout: Layout,
  transforms: number,
  tensors: readonly TensorType[],
): Cost {
  const length = u.shape[axesOf(layout).time]!;
  const elements = sizeOf(u.shape);
  return {
    flops: elements * (5 * Math.log2(2 * length) * transforms + 12),
    bytes: tensors.reduce((n, t) => n + sizeOf(t.shape) * DTYPES[t.dtype].bytes, 0),
  };
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
