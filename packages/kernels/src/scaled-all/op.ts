// Many tensors times one number at once: clipped gradients.

import {
  broadcastTo,
  cast,
  defineOp,
  mul,
  reshape,
  sizeOf,
  sum,
  unsqueeze,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { need, needCompute } from "../inputs.ts";
import { scaledAllReference } from "./reference.ts";

type NoParams = Record<never, never>;

/** Factors of slices as they broadcast over a tensor. */
const along = (factor: Tensor, t: Tensor): Tensor =>
  factor.rank === 0 ? factor : reshape(factor, [-1, ...t.shape.slice(1).map(() => 1)]);

const decompose = ([factor, ...tensors]: readonly Tensor[]): Tensor[] =>
  tensors.map((t) => mul(t, along(factor!, t)));

/** Tensors that may be written over. */
const MOST_IN_PLACE = 4096;

/** `(factor [] or [S], x_0 [...], x_1 [...], ...) -> factor x_0, factor x_1, ...`; `[S]`: one for each slice of the tensors' first axis. */
export const scaledAllOp: Op<NoParams> = defineOp<NoParams>({
  name: "scaled-all",
  shape: ([factor, ...tensors]) => {
    const dtype = needCompute("scaled-all", "factor", factor!);
    const lead = factor!.shape;
    need("scaled-all", "factor", factor!, lead.length === 0 ? [] : [undefined], "[] or [S]");
    tensors.forEach((t, i) =>
      need("scaled-all", `tensor ${i}`, t, [...lead, ...t.shape.slice(lead.length)], "[S, ...]", dtype),
    );
    return tensors;
  },
  reference: scaledAllReference,
  decompose,
  vjp: ({ inputs: [factor, ...tensors], cotangents, needed }) => {
    const slopes = cotangents.map((g, i) => (g && needed[i + 1] ? mul(g, along(factor!, g)) : undefined));
    if (!needed[0]) return [undefined, ...slopes];
    const parts = cotangents.flatMap((g, i) => {
      if (!g) return [];
      const product = mul(g, tensors[i]!);
      const axes = product.shape.map((_, axis) => axis).filter((axis) => axis >= factor!.rank);
      return [sum(product, axes)];
    });
    return [parts.reduce((a, b) => a.add(b)), ...slopes];
  },
  batch: ({ inputs, mapped, size, apply }) => {
    const factor = inputs[0]!;
    if (factor.rank !== (mapped[0] ? 1 : 0)) return undefined;
    return apply(
      inputs.map((t, i) =>
        mapped[i] || (i === 0 && !mapped[0]) ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]),
      ),
    );
  },
  cost: (inputs, outputs) => ({
    flops: outputs.reduce((n, t) => n + sizeOf(t.shape), 0),
    bytes: bytesMoved(inputs, outputs),
  }),
  inPlace: Array.from({ length: MOST_IN_PLACE }, (_, i) => i + 1),
});

/** All tensors times a scalar tensor. */
export const scaledAll = (tensors: readonly Tensor[], factor: Tensor): Tensor[] =>
  tensors.length === 0 ? [] : scaledAllOp([cast(factor, tensors[0]!.dtype), ...tensors], {});
