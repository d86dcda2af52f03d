// The product of an activated gate and a value, `act(a) b`, in one pass forward and one backward: gated linear units (Dauphin et al. 2016)
// in mixed precision keep a and b, nothing between.

import { cast, defineOp, mul, sizeOf, type Op, type Tensor } from "@everlong/core";
import { batchLeading } from "../batch-rows.ts";
import { bytesMoved } from "../cost.ts";
import { inOneDtype, need, needFloat, widened } from "../inputs.ts";
import { activated, slope, type Activation } from "../matmul/op.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { gateGradReference, gateReference } from "./reference.ts";

export type GateActivation = Exclude<Activation, "none" | "relu">;
export interface GateParams {
  readonly activation: GateActivation;
}

function decompose([a, b]: readonly Tensor[], { activation }: GateParams): Tensor[] {
  return [cast(mul(activated(activation, widened(a!)), widened(b!)), a!.dtype)];
}

function decomposeGrad([a, b, dy]: readonly Tensor[], { activation }: GateParams): Tensor[] {
  const [wide, g] = [widened(a!), widened(dy!)];
  return [
    cast(mul(mul(g, widened(b!)), slope[activation](wide)), a!.dtype),
    cast(mul(g, activated(activation, wide)), a!.dtype),
  ];
}

/** `(a [...], b [...]) -> act(a) b`. */
export const gateOp: Op<GateParams> = defineOp<GateParams>({
  name: "gate",
  shape: ([a, b]) => {
    const dtype = needFloat("gate", "gate", a!);
    need("gate", "value", b!, a!.shape, "shape of the gate", dtype);
    return [a!];
  },
  reference: gateReference,
  decompose,
  vjp: ({ inputs, params, cotangents }) => gateGradOp([...inputs, cotangents[0]!], params),
  batch: batchLeading,
  cost: (inputs, outputs) => ({ flops: 6 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/** `(a, b, dy) -> (da, db)`. */
export const gateGradOp: Op<GateParams> = defineOp<GateParams>({
  name: "gate-grad",
  shape: ([a, b, dy]) => {
    const dtype = needFloat("gate-grad", "gate", a!);
    need("gate-grad", "value", b!, a!.shape, "shape of the gate", dtype);
    need("gate-grad", "dy", dy!, a!.shape, "shape of the gate", dtype);
    return [a!, a!];
  },
  reference: gateGradReference,
  decompose: decomposeGrad,
  vjp: (context) => gradientsThrough(decomposeGrad, context),
  batch: batchLeading,
  cost: (inputs, outputs) => ({ flops: 12 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/** `activation(a) b`, with the arithmetic in f32 and the result in the dtype of `a` and `b`. */
export function gate(a: Tensor, b: Tensor, activation: GateActivation): Tensor {
  if (a.dtype === b.dtype) return gateOp([a, b], { activation })[0]!;
  const { tensors } = inOneDtype({ a, b });
  return gateOp(tensors, { activation })[0]!;
}
