// Fused ops take a list of tensors. Where some are optional, the parameters name those that are there, in order.

import {
  DTypeError,
  ShapeError,
  cast,
  promote,
  show,
  type DType,
  type Tensor,
  type TensorType,
} from "@everlong/core";

/** The values by input name. */
export type Named<N extends string, T> = { readonly [K in N]?: T };

/** Pairs an op's input names with its values. */
export function named<N extends string, T>(names: readonly N[], values: readonly T[]): Named<N, T> {
  const out: { [K in N]?: T } = {};
  names.forEach((name, i) => (out[name] = values[i]!));
  return out;
}

/** The present ones of `candidates`, as names and tensors in step, for the call of an op. */
export function present<N extends string>(
  candidates: Named<N, Tensor | undefined>,
): { readonly names: N[]; readonly tensors: Tensor[] } {
  const entries = Object.entries(candidates) as [N, Tensor | undefined][];
  const there = entries.filter((e): e is [N, Tensor] => e[1] !== undefined);
  return { names: there.map(([name]) => name), tensors: there.map(([, t]) => t) };
}

/** Values by name, back in the order of the op's inputs. */
export const inOrder = <N extends string, T>(names: readonly N[], values: Named<N, T>): (T | undefined)[] =>
  names.map((name) => values[name]);

/** Checks one input of an op: its sizes (undefined: any) and its dtype (that of a float compute op by default). */
export function need(
  op: string,
  name: string,
  type: TensorType,
  shape: readonly (number | undefined)[],
  letters: string,
  dtype?: DType,
): void {
  const fits =
    type.shape.length === shape.length && shape.every((n, i) => n === undefined || n === type.shape[i]);
  if (!fits) {
    const sizes = shape.map((n) => n ?? "any").join(", ");
    throw new ShapeError(op, `${name} has the wrong shape`, {
      expected: `${letters} = [${sizes}]`,
      got: show(type.shape),
    });
  }
  if (dtype !== undefined && type.dtype !== dtype) {
    throw new DTypeError(op, `${name} has the wrong dtype`, { expected: dtype, got: type.dtype });
  }
}

/** The dtype in which an op computes: f32, or f64 where it is offered. Half precision is cast by the functions above ops. */
export function needCompute(op: string, name: string, type: TensorType): "f32" | "f64" {
  if (type.dtype === "f32" || type.dtype === "f64") return type.dtype;
  throw new DTypeError(op, `${name} has the wrong dtype`, { expected: "f32 or f64", got: type.dtype });
}

/** Formats of two bytes: for storage, never for sums. */
export const isHalf = (dtype: DType): boolean => dtype === "f16" || dtype === "bf16";

/** The dtype of an op that takes half precision as it is stored: any float. */
export function needFloat(op: string, name: string, type: TensorType): "f16" | "bf16" | "f32" | "f64" {
  const { dtype } = type;
  if (dtype === "f16" || dtype === "bf16" || dtype === "f32" || dtype === "f64") return dtype;
  throw new DTypeError(op, `${name} has the wrong dtype`, { expected: "f16, bf16, f32 or f64", got: dtype });
}

/** The dtype of sums over elements of a dtype: f32 for halves. */
export const wideDtype = (dtype: DType): DType => (isHalf(dtype) ? "f32" : dtype);

/** f16 and bf16 tensors as f32; others unchanged. Storage may be half, sums never are. */
export const widened = (t: Tensor): Tensor => cast(t, computeDtype([t]));

/** The dtype in which tensors meet: promoted, and at least f32. */
export function computeDtype(tensors: readonly (Tensor | undefined)[]): DType {
  const dtypes = tensors.filter((t): t is Tensor => t !== undefined).map((t) => t.dtype);
  return wideDtype(dtypes.reduce(promote));
}

/** The tensors of an op in the one dtype in which it computes; those absent stay absent. */
export function inOneDtype<N extends string>(
  tensors: Named<N, Tensor | undefined>,
): {
  readonly names: N[];
  readonly tensors: Tensor[];
} {
  const there = present(tensors);
  const dtype = computeDtype(there.tensors);
  return { names: there.names, tensors: there.tensors.map((t) => cast(t, dtype)) };
}
