// Fused ops: the open set. An op states its shapes, its meaning (a float64 reference), its gradient and its cost; devices
// may bring a kernel for it. One folder each in @everlong/kernels.

import type { DType } from "./dtype.ts";
import type { Tensor } from "./tensor.ts";

/** What is known of a tensor before it has a value. */
export interface TensorType {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** A contiguous host array of float64 (integers and bools as numbers), as references read and write it. */
export interface HostArray {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Floating-point operations and bytes that a call must at least do and move. */
export interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

export interface VjpContext<P> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly params: P;
  /** Cotangent of each output; undefined where the loss does not depend on it. */
  readonly cotangents: readonly (Tensor | undefined)[];
  /** Whether the gradient of input i is wanted; the others may be left undefined. */
  readonly needed: readonly boolean[];
}

export interface BatchContext<P> {
  /** Inputs; a mapped one carries the new axis in front. */
  readonly inputs: readonly Tensor[];
  readonly mapped: readonly boolean[];
  readonly size: number;
  readonly params: P;
  /** The op on given inputs, for rules that fold the new axis into one of the op's own. */
  readonly apply: (inputs: readonly Tensor[], params?: P) => Tensor[];
}

export interface OpSpec<P> {
  /** Lower-case name with hyphens, as in errors and printed plans. */
  readonly name: string;
  /** Checks shapes, dtypes and parameters, and gives the outputs' types. */
  readonly shape: (inputs: readonly TensorType[], params: P) => TensorType[];
  /** Plain float64 loops: the definition, the fallback and the oracle. Outputs arrive filled with NaN. */
  readonly reference: (inputs: readonly HostArray[], outputs: readonly HostArray[], params: P) => void;
  /** Gradients of the inputs, made of ops; absent: not differentiable. */
  readonly vjp?: (context: VjpContext<P>) => (Tensor | undefined)[];
  /**
   * Batching rule; its outputs carry the new axis in front. `{ fold: axes }` names, per input, whether axis 0 is a batch
   * axis into which the new one folds (outputs: axis 0 too). When an input that cannot fold is mapped, or no rule is
   * given, the op runs once per example.
   */
  readonly batch?:
    | { readonly fold: readonly boolean[] }
    | ((context: BatchContext<P>) => Tensor[] | undefined);
  /** The same function made of primitives, for devices without a kernel. */
  readonly decompose?: (inputs: readonly Tensor[], params: P) => Tensor[];
  readonly cost: (inputs: readonly TensorType[], outputs: readonly TensorType[], params: P) => Cost;
  /** Output i may be written over input `inPlace[i]` when nobody else needs it. */
  readonly inPlace?: readonly (number | undefined)[];
}

/** A registered fused op. The parameter type is erased; `defineOp` checks it at the definition. */
export interface OpDef extends OpSpec<never> {
  readonly id: symbol;
}

/** What `defineOp` returns: call it with tensors and parameters. */
export interface Op<P> {
  (inputs: readonly Tensor[], params: P): Tensor[];
  readonly def: OpDef;
}
