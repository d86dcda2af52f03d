// Reductions, running reductions, sorting, and the functions built on them.

import type { CumulativeFn, ReduceFn } from "../primitives.ts";
import { record, record1 } from "../record.ts";
import { normalizeAxes, normalizeAxis, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { cast, div, exp, isNaN, log, mul, square, sub, toFloat, where } from "./elementwise.ts";
import { narrow, reshape } from "./movement.ts";
import { stopGradient } from "./control.ts";

/** Axes to reduce (default: all) and whether they stay with size 1. */
export interface ReduceOptions {
  readonly keepDims?: boolean;
}
type Axes = number | readonly number[];

function reduce(fn: ReduceFn, x: Tensor, axes: Axes | undefined, options: ReduceOptions): Tensor {
  const list = normalizeAxes(fn, axes, x.rank);
  const input = x.dtype === "bool" && (fn === "sum" || fn === "prod") ? cast(x, "i32") : x;
  const out = list.length === 0 ? input : record1("reduce", { fn, axes: list }, [input]);
  return options.keepDims
    ? reshape(
        out,
        x.shape.map((n, i) => (list.includes(i) ? 1 : n)),
      )
    : out;
}

export const sum = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  reduce("sum", x, axes, options);
export const prod = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  reduce("prod", x, axes, options);
/** Largest element; NaN wins. */
export const max = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  reduce("max", x, axes, options);
export const min = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  reduce("min", x, axes, options);
export const any = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  max(cast(x, "bool"), axes, options);
export const all = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  min(cast(x, "bool"), axes, options);

export function mean(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const list = normalizeAxes("mean", axes, x.rank);
  const n = sizeOf(list.map((a) => x.shape[a]!));
  return div(sum(toFloat(x), list, options), n);
}

/** Variance over `axes`; divides by n - `correction` (default 0). */
export function variance(
  x: Tensor,
  axes?: Axes,
  options: ReduceOptions & { readonly correction?: number } = {},
): Tensor {
  const list = normalizeAxes("variance", axes, x.rank);
  const n = sizeOf(list.map((a) => x.shape[a]!));
  const centred = sub(toFloat(x), mean(x, list, { keepDims: true }));
  return div(sum(square(centred), list, options), n - (options.correction ?? 0));
}

/** Euclidean norm over `axes`. */
export const norm = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  record1("unary", { fn: "sqrt" }, [sum(square(toFloat(x)), axes, options)]);

/** `log(sum(exp(x)))` without overflow. */
export function logSumExp(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const list = normalizeAxes("logSumExp", axes, x.rank);
  const top = stopGradient(max(x, list, { keepDims: true }));
  const safe = where(finite(top), top, 0);
  const out = log(sum(exp(sub(x, safe)), list, { keepDims: true }));
  const full = record1("binary", { fn: "add" }, [out, safe]);
  return options.keepDims
    ? full
    : reshape(
        full,
        x.shape.filter((_, i) => !list.includes(i)),
      );
}

const finite = (x: Tensor): Tensor => record1("unary", { fn: "not" }, [isNaN(mul(x, 0))]);

/** Softmax over one axis, made of primitives; nn uses the fused kernel. */
export function softmax(x: Tensor, axis = -1): Tensor {
  normalizeAxis("softmax", axis, x.rank);
  const e = exp(sub(x, stopGradient(max(x, axis, { keepDims: true }))));
  return div(e, sum(e, axis, { keepDims: true }));
}
export const logSoftmax = (x: Tensor, axis = -1): Tensor => sub(x, logSumExp(x, axis, { keepDims: true }));

function argReduce(fn: "max" | "min", x: Tensor, axis: number): Tensor {
  return record1("argReduce", { fn, axis: normalizeAxis(`arg${fn}`, axis, x.rank) }, [x]);
}
/** Index (i32) of the first largest element along an axis. */
export const argmax = (x: Tensor, axis = -1): Tensor => argReduce("max", x, axis);
export const argmin = (x: Tensor, axis = -1): Tensor => argReduce("min", x, axis);

interface CumulativeOptions {
  /** Run from the end. */
  readonly reverse?: boolean;
}
const cumulative =
  (fn: CumulativeFn) =>
  (x: Tensor, axis = -1, options: CumulativeOptions = {}): Tensor =>
    record1(
      "cumulative",
      { fn, axis: normalizeAxis(`cum${fn}`, axis, x.rank), reverse: options.reverse ?? false },
      [x],
    );
type Cumulative = (x: Tensor, axis?: number, options?: CumulativeOptions) => Tensor;
/** Inclusive running sum. */
export const cumsum: Cumulative = cumulative("sum");
export const cumprod: Cumulative = cumulative("prod");
export const cummax: Cumulative = cumulative("max");
export const cummin: Cumulative = cumulative("min");

export interface SortOptions {
  readonly axis?: number;
  readonly descending?: boolean;
}
/** Stable sort; NaN last. Values are differentiable. */
export function sort(x: Tensor, options: SortOptions = {}): { values: Tensor; indices: Tensor } {
  const axis = normalizeAxis("sort", options.axis ?? -1, x.rank);
  const [values, indices] = record("sort", { axis, descending: options.descending ?? false }, [x]);
  return { values: values!, indices: indices! };
}
export const argsort = (x: Tensor, options: SortOptions = {}): Tensor => sort(x, options).indices;

/** The `k` largest (or smallest) along an axis, in order. */
export function topK(
  x: Tensor,
  k: number,
  options: { readonly axis?: number; readonly largest?: boolean } = {},
): { values: Tensor; indices: Tensor } {
  const axis = normalizeAxis("topK", options.axis ?? -1, x.rank);
  const { values, indices } = sort(x, { axis, descending: options.largest ?? true });
  return { values: narrow(values, axis, 0, k), indices: narrow(indices, axis, 0, k) };
}
