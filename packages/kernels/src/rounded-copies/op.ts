// Many tensors rounded to half precision at once: the weights of a model, before a step that multiplies in half precision.

import { cast, ConfigError, defineOp, type DType, type Op, type Tensor } from "@everlong/core";
import { batchLeading } from "../batch-rows.ts";
import { bytesMoved } from "../cost.ts";
import { needCompute } from "../inputs.ts";
import { roundedCopiesReference } from "./reference.ts";

export interface RoundedCopiesParams {
  readonly dtype: "bf16" | "f16";
}

const decompose = (inputs: readonly Tensor[], { dtype }: RoundedCopiesParams): Tensor[] =>
  inputs.map((t) => cast(t, dtype));

/** `(x_0 [...], x_1 [...], ...) -> the same in half precision`. */
export const roundedCopiesOp: Op<RoundedCopiesParams> = defineOp<RoundedCopiesParams>({
  name: "rounded-copies",
  shape: (inputs, { dtype }) =>
    inputs.map((t, i) => {
      needCompute("rounded-copies", `tensor ${i}`, t);
      return { shape: t.shape, dtype };
    }),
  reference: roundedCopiesReference,
  decompose,
  vjp: ({ inputs, cotangents }) => cotangents.map((g, i) => g && cast(g, inputs[i]!.dtype)),
  batch: batchLeading,
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesMoved(inputs, outputs) }),
});

/** Half-precision copies of tensors, in one call. Their gradients arrive in the tensors' own dtype. */
export function roundedCopies(tensors: readonly Tensor[], dtype: DType): Tensor[] {
  if (dtype !== "bf16" && dtype !== "f16") {
    throw new ConfigError("roundedCopies", "not half precision", { expected: "bf16 or f16", got: dtype });
  }
  return tensors.length === 0 ? [] : roundedCopiesOp(tensors, { dtype });
}
