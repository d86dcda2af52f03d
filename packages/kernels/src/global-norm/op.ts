// The Euclidean norm of all elements of several tensors: what gradient clipping and logs read, in one call.

import {
  add,
  broadcastTo,
  cast,
  ConfigError,
  defineOp,
  div,
  mul,
  promote,
  reshape,
  sizeOf,
  sqrt,
  square,
  sum,
  unsqueeze,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { need, needCompute, wideDtype } from "../inputs.ts";
import { globalNormReference } from "./reference.ts";

export interface GlobalNormParams {
  /** Whether the first axis of all tensors counts slices, each with a norm of its own. */
  readonly sliced: boolean;
}

function decompose(inputs: readonly Tensor[], { sliced }: GlobalNormParams): Tensor[] {
  const first = sliced ? 1 : 0;
  const squares = (t: Tensor): Tensor =>
    sum(
      square(t),
      t.shape.map((_, i) => i).filter((i) => i >= first),
    );
  return [sqrt(inputs.map(squares).reduce((a, b) => add(a, b)))];
}

/** `(x_0 [...], x_1 [...], ...) -> sqrt(sum of all squares)`, or `[S]` of slices `[S, ...]`; sums in a fixed order. */
export const globalNormOp: Op<GlobalNormParams> = defineOp<GlobalNormParams>({
  name: "global-norm",
  shape: (inputs, { sliced }) => {
    const dtype = needCompute("global-norm", "tensor 0", inputs[0]!);
    const lead = sliced ? inputs[0]!.shape.slice(0, 1) : [];
    inputs.forEach((t, i) =>
      need("global-norm", `tensor ${i}`, t, [...lead, ...t.shape.slice(lead.length)], "[S, ...]", dtype),
    );
    return [{ shape: lead, dtype }];
  },
  reference: globalNormReference,
  decompose,
  vjp: ({ inputs, outputs, cotangents, needed }) => {
    const scale = div(cotangents[0]!, outputs[0]!);
    const along = (t: Tensor): Tensor =>
      scale.rank === 0 ? scale : reshape(scale, [-1, ...t.shape.slice(1).map(() => 1)]);
    return inputs.map((t, i) => (needed[i] ? mul(t, along(t)) : undefined));
  },
  batch: ({ inputs, mapped, size, params, apply }) => {
    if (params.sliced) return undefined;
    const wide = inputs.map((t, i) => (mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape])));
    return apply(wide, { sliced: true });
  },
  cost: (inputs, outputs) => ({
    flops: inputs.reduce((n, t) => n + 2 * sizeOf(t.shape), 0),
    bytes: bytesMoved(inputs, outputs),
  }),
});

/** Euclidean norm over all tensors together, a scalar; f32 for half precision. */
export function globalNorm(tensors: readonly Tensor[]): Tensor {
  if (tensors.length === 0) throw new ConfigError("globalNorm", "needs at least one tensor");
  const dtype = wideDtype(tensors.map((t) => t.dtype).reduce(promote));
  return globalNormOp(
    tensors.map((t) => cast(t, dtype)),
    { sliced: false },
  )[0]!;
}
