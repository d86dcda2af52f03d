// What layer and root-mean-square normalisation share: their inputs and checks, and what surrounds their gradient ops.

import { ShapeError, show, zerosLike, type Tensor, type TensorType, type VjpContext } from "@everlong/core";
import { inOneDtype, inOrder, isHalf, need, needFloat, present, wideDtype, widened } from "./inputs.ts";
import { isMixed, unwidened } from "./precision.ts";

export type NormInput = "x" | "weight" | "bias";
export interface NormParams {
  readonly eps: number;
  readonly inputs: readonly NormInput[];
}

export interface NormOptions {
  /** Added to the variance (mean square). Default 1e-5. */
  readonly eps?: number;
}

/** Checks rows `[..., N]` with weights `[N]`: rows may be half, weights and statistics are f32 then. */
export function checkNorm(op: string, types: Readonly<Record<string, TensorType | undefined>>): void {
  const x = types["x"]!;
  const dtype = needFloat(op, "x", x);
  const wide = wideDtype(dtype);
  const n = x.shape[x.shape.length - 1];
  if (n === undefined || n === 0) {
    throw new ShapeError(op, "needs rows of at least one element", {
      expected: "x [..., N]",
      got: show(x.shape),
    });
  }
  for (const name of ["weight", "bias"]) if (types[name]) need(op, name, types[name], [n], "[N]", wide);
  for (const name of ["mean", "rstd"]) {
    if (types[name]) need(op, name, types[name], x.shape.slice(0, -1), "x without the last axis", wide);
  }
  if (types["dy"]) need(op, "dy", types["dy"], x.shape, "shape of x", dtype);
}

/** Types of `(dx, dweight?, dbias?)`. */
export function normGradTypes(
  op: string,
  types: Readonly<Record<string, TensorType | undefined>>,
  bias: boolean,
): TensorType[] {
  checkNorm(op, types);
  const x = types["x"]!;
  const column = { shape: x.shape.slice(-1), dtype: wideDtype(x.dtype) };
  return [x, ...(types["weight"] ? [column] : []), ...(bias ? [column] : [])];
}

/** The outputs `(dx, dweight?, dbias?)` of a gradient op as gradients of the norm's inputs. */
export function normGradients(
  inputs: readonly NormInput[],
  [dx, ...rest]: readonly Tensor[],
): (Tensor | undefined)[] {
  return inOrder(inputs, {
    x: dx!,
    ...(inputs.includes("weight") ? { weight: rest[0]! } : {}),
    ...(inputs.includes("bias") ? { bias: rest[rest.length - 1]! } : {}),
  });
}

/** The context with zeros where nothing depends on an output: a gradient may be used in part. */
export function withZeroCotangents<P>(context: VjpContext<P>): VjpContext<P> {
  const cotangents = context.outputs.map((t, i) => context.cotangents[i] ?? zerosLike(t));
  return { ...context, cotangents };
}

/** The tensors of a norm in the dtypes that it takes: rows that are half (or were) as they are, weights wide. */
export function normTensors(
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
): { readonly names: NormInput[]; readonly tensors: Tensor[] } {
  const rows = unwidened(x);
  if (!isMixed() || !isHalf(rows.dtype)) return inOneDtype({ x, weight, bias });
  return present({ x: rows, weight: weight && widened(weight), bias: bias && widened(bias) });
}
