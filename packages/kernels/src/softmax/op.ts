// Softmax over the last axis.

import {
  ShapeError,
  cast,
  defineOp,
  mul,
  show,
  sizeOf,
  softmax,
  sub,
  sum,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { batchLeading } from "../batch-rows.ts";
import { bytesMoved } from "../cost.ts";
import { need, needCompute, widened } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { softmaxGradReference, softmaxReference } from "./reference.ts";

type NoParams = Record<never, never>;

function checkRows(op: string, x: TensorType): void {
  needCompute(op, "x", x);
  if (x.shape.length === 0 || x.shape[x.shape.length - 1] === 0) {
    throw new ShapeError(op, "needs rows of at least one element", {
      expected: "[..., N]",
      got: show(x.shape),
    });
  }
}

export const softmaxOp: Op<NoParams> = defineOp<NoParams>({
  name: "softmax",
  shape: ([x]) => {
    checkRows("softmax", x!);
    return [x!];
  },
  reference: softmaxReference,
  decompose: ([x]) => [softmax(x!)],
  vjp: ({ outputs, cotangents }) => softmaxGradOp([outputs[0]!, cotangents[0]!], {}),
  batch: batchLeading,
  cost: (inputs, outputs) => ({ flops: 5 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
  inPlace: [0],
});

const gradDecomposition = ([y, dy]: readonly Tensor[]): Tensor[] => [
  mul(y!, sub(dy!, sum(mul(y!, dy!), -1, { keepDims: true }))),
];

/** `(y, dy) -> dx`. */
export const softmaxGradOp: Op<NoParams> = defineOp<NoParams>({
  name: "softmax-grad",
  shape: ([y, dy]) => {
    checkRows("softmax-grad", y!);
    need("softmax-grad", "dy", dy!, y!.shape, "[..., N]", y!.dtype);
    return [y!];
  },
  reference: softmaxGradReference,
  decompose: gradDecomposition,
  vjp: (context) => gradientsThrough(gradDecomposition, context),
  batch: batchLeading,
  cost: (inputs, outputs) => ({ flops: 4 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
  inPlace: [1],
});

/** Softmax over the last axis of `x` `[..., N]`, one pass over memory; same shape and dtype. */
export const rowSoftmax = (x: Tensor): Tensor => cast(softmaxOp([widened(x)], {})[0]!, x.dtype);
