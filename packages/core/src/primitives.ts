// The closed set of primitives. Every rule set over it (shape, gradient, batching, reference, lowering) is a complete
// typed table, so a primitive without a rule does not compile. Fused ops are the open set: see op.ts.

import type { DType, TypedArray } from "./dtype.ts";
import type { Graph } from "./graph.ts";
import type { OpDef } from "./op.ts";

export const UNARY_FNS = [
  "neg",
  "abs",
  "sign",
  "exp",
  "expm1",
  "log",
  "log1p",
  "sqrt",
  "rsqrt",
  "reciprocal",
  "sin",
  "cos",
  "tanh",
  "sigmoid",
  "erf",
  "floor",
  "ceil",
  "round",
  "not",
] as const;
/** Elementwise functions of one operand; `not` is logical on bool and bitwise on integers. */
export type UnaryFn = (typeof UNARY_FNS)[number];

export const BINARY_FNS = [
  "add",
  "sub",
  "mul",
  "div",
  "mod",
  "pow",
  "max",
  "min",
  "atan2",
  "and",
  "or",
  "xor",
  "shl",
  "shr",
] as const;
/** Elementwise functions of two operands of one dtype; `shr` is logical (unsigned); integer `div` truncates. */
export type BinaryFn = (typeof BINARY_FNS)[number];

export const COMPARE_FNS = ["eq", "ne", "lt", "le", "gt", "ge"] as const;
export type CompareFn = (typeof COMPARE_FNS)[number];

export type ReduceFn = "sum" | "prod" | "max" | "min";
export type CumulativeFn = "sum" | "prod" | "max" | "min";

/** Parameters of each primitive. Axes are normalised (non-negative), shapes complete. */
export interface PrimitiveParams {
  /** A value from outside: realised data, or the argument of a traced function. */
  readonly data: { readonly label: string };
  /** Every element equals `value`. */
  readonly full: { readonly shape: readonly number[]; readonly dtype: DType; readonly value: number };
  /** The index along `axis`. */
  readonly iota: { readonly shape: readonly number[]; readonly axis: number; readonly dtype: DType };
  /** A small host array that belongs to the program (tables, index lists). */
  readonly constant: { readonly shape: readonly number[]; readonly dtype: DType; readonly data: TypedArray };
  readonly unary: { readonly fn: UnaryFn };
  readonly binary: { readonly fn: BinaryFn };
  readonly compare: { readonly fn: CompareFn };
  /** `select(condition, a, b)`: a where condition is true, else b. */
  readonly select: Record<never, never>;
  readonly cast: { readonly dtype: DType };
  readonly reshape: { readonly shape: readonly number[] };
  /** Output axis i is input axis `order[i]`. */
  readonly permute: { readonly order: readonly number[] };
  /** Repeats axes of size 1; ranks are equal. */
  readonly expand: { readonly shape: readonly number[] };
  /** Elements start, start + step, ... (`sizes` of them per axis); steps may be negative. */
  readonly slice: {
    readonly starts: readonly number[];
    readonly sizes: readonly number[];
    readonly steps: readonly number[];
  };
  readonly pad: {
    readonly before: readonly number[];
    readonly after: readonly number[];
    readonly value: number;
  };
  readonly concat: { readonly axis: number };
  /** Removes `axes` (sorted). */
  readonly reduce: { readonly fn: ReduceFn; readonly axes: readonly number[] };
  /** Index (i32) of the first extreme element along `axis`, which is removed. NaN counts as the extreme. */
  readonly argReduce: { readonly fn: "max" | "min"; readonly axis: number };
  /** Inclusive running reduction along `axis`, from the end when `reverse`. */
  readonly cumulative: { readonly fn: CumulativeFn; readonly axis: number; readonly reverse: boolean };
  /** Outputs (values, i32 indices); stable; NaN last. */
  readonly sort: { readonly axis: number; readonly descending: boolean };
  /** `out[..., i, ...] = x[..., indices[..., i, ...], ...]` along `axis`; other axes are equal. Indices are clamped. */
  readonly gather: { readonly axis: number };
  /** `base` with `updates` written or added at `indices` along `axis` (same layout as gather). Out of range: dropped. */
  readonly scatter: { readonly axis: number; readonly mode: "add" | "set" };
  /** `[..., M, K] x [..., K, N] -> [..., M, N]`; batch axes are equal. */
  readonly matmul: Record<never, never>;
  /** Complex DFT over the last axis of (re, im), unscaled; `inverse` uses exp(+i...). Outputs (re, im). */
  readonly fft: { readonly inverse: boolean };
  /** i32 words of Threefry-2x32 keyed by the input `[2]` i32, counted 0, 1, ... in row-major order. */
  readonly randomBits: { readonly shape: readonly number[] };
  /** Identity of its first input; `pass` is not scheduled before its other inputs exist, `stop` ends gradients. */
  readonly barrier: { readonly gradient: "pass" | "stop" };
  /** Runs `body` on the inputs; its gradient recomputes the body instead of keeping its intermediates. */
  readonly recompute: { readonly body: Graph };
  /**
   * Inputs: `carries` initial carries, `sequences` arrays with a leading time axis, then constants. The body maps
   * (carries, one step of each sequence, constants) to (carries, one step of each output sequence). Outputs: last carries,
   * stacked output sequences, and the stacked carries at the start of each step, which gradients use.
   */
  readonly scan: {
    readonly body: Graph;
    readonly length: number;
    readonly carries: number;
    readonly sequences: number;
    readonly reverse: boolean;
  };
  /** A fused op, or with `examples` one call of it per example. */
  readonly fused: { readonly def: OpDef; readonly params: unknown; readonly examples?: Examples };
}

/** Calls of one op that differ in some inputs: those that are `mapped`, and all outputs, carry the axis of examples in front. */
export interface Examples {
  readonly size: number;
  readonly mapped: readonly boolean[];
}

export type Primitive = keyof PrimitiveParams;

/** A primitive with its parameters. */
export type Operation = {
  [P in Primitive]: { readonly name: P; readonly params: PrimitiveParams[P] };
}[Primitive];

/** Primitives that only rename elements; they become views. */
export type Movement = "reshape" | "permute" | "expand" | "slice";
export const MOVEMENT: readonly Movement[] = ["reshape", "permute", "expand", "slice"];
export const isMovement = (p: Primitive): p is Movement => (MOVEMENT as readonly Primitive[]).includes(p);

/** Primitives computed element by element; they fuse. */
export type Elementwise = "full" | "iota" | "unary" | "binary" | "compare" | "select" | "cast";
export const ELEMENTWISE: readonly Elementwise[] = [
  "full",
  "iota",
  "unary",
  "binary",
  "compare",
  "select",
  "cast",
];
export const isElementwise = (p: Primitive): p is Elementwise =>
  (ELEMENTWISE as readonly Primitive[]).includes(p);
