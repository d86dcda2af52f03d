// The subject of a check: a primitive, recorded as it is.

import type { Primitive, PrimitiveParams } from "../primitives.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

/** A primitive in the form that `checkOp` takes. */
export function subject<P extends Primitive>(
  name: P,
  label: string = name,
): {
  readonly name: string;
  readonly apply: (inputs: readonly Tensor[], params: PrimitiveParams[P]) => Tensor[];
} {
  return { name: label, apply: (inputs, params) => record(name, params, inputs) };
}
