// Layer normalisation over the last axis (Ba, Kiros & Hinton 2016).

import {
  add,
  cast,
  checkOptions,
  defineOp,
  mean,
  mul,
  rsqrt,
  sizeOf,
  square,
  squeeze,
  sub,
  sum,
  unsqueeze,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { named, present, wideDtype } from "../inputs.ts";
import {
  checkNorm,
  normGradients,
  normGradTypes,
  normTensors,
  withZeroCotangents,
  type NormOptions,
  type NormParams,
} from "../norm.ts";
import { activation, isMixed } from "../precision.ts";
import { storedHalf } from "../stored-half.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { batchRows } from "../batch-rows.ts";
import { layerNormGradReference, layerNormReference } from "./reference.ts";

export type NormGradInput = "x" | "weight" | "mean" | "rstd" | "dy";
export interface NormGradParams {
  /** Whether the gradient of the bias is an output (the last). */
  readonly bias: boolean;
  readonly inputs: readonly NormGradInput[];
}

function plain(inputs: readonly Tensor[], params: NormParams): Tensor[] {
  const { x, weight, bias } = named(params.inputs, inputs);
  const m = mean(x!, -1, { keepDims: true });
  const centred = sub(x!, m);
  const r = rsqrt(add(mean(square(centred), -1, { keepDims: true }), params.eps));
  let y = mul(centred, r);
  if (weight) y = mul(y, weight);
  if (bias) y = add(y, bias);
  return [y, squeeze(m, -1), squeeze(r, -1)];
}

function plainGrad(inputs: readonly Tensor[], params: NormGradParams): Tensor[] {
  const { x, weight, mean: m, rstd, dy } = named(params.inputs, inputs);
  const r = unsqueeze(rstd!, -1);
  const h = mul(sub(x!, unsqueeze(m!, -1)), r);
  const g = weight ? mul(dy!, weight) : dy!;
  const average = (t: Tensor): Tensor => mean(t, -1, { keepDims: true });
  const rows = Array.from({ length: x!.rank - 1 }, (_, i) => i);
  return [
    mul(r, sub(sub(g, average(g)), mul(h, average(mul(g, h))))),
    ...(weight ? [sum(mul(dy!, h), rows)] : []),
    ...(params.bias ? [sum(dy!, rows)] : []),
  ];
}

const decompose = storedHalf(plain, [0]);
const decomposeGrad = storedHalf(plainGrad, [0]);

/** `(x [..., N], weight? [N], bias? [N]) -> (y [..., N], mean [...], 1 / standard deviation [...])`. */
export const layerNormOp: Op<NormParams> = defineOp<NormParams>({
  name: "layer-norm",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    checkNorm("layer-norm", types);
    const rows = { shape: types.x!.shape.slice(0, -1), dtype: wideDtype(types.x!.dtype) };
    return [types.x!, rows, rows];
  },
  reference: layerNormReference,
  decompose,
  vjp: (context) => {
    const { inputs, outputs, params, cotangents } = context;
    // The statistics are outputs for the gradient's sake; who differentiates them too gets the primitives.
    if (cotangents[1] || cotangents[2]) return gradientsThrough(decompose, context);
    const { x, weight, bias } = named(params.inputs, inputs);
    const { names, tensors } = present({ x, weight, mean: outputs[1], rstd: outputs[2], dy: cotangents[0] });
    const found = layerNormGradOp(tensors, { bias: bias !== undefined, inputs: names });
    return normGradients(params.inputs, found);
  },
  batch: (context) => batchRows(context, context.params.inputs, ["x"]),
  cost: (inputs, outputs) => ({ flops: 8 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/** `(x, weight?, mean, rstd, dy) -> (dx, dweight? [N], dbias? [N])`; the sums over rows run in a fixed order. */
export const layerNormGradOp: Op<NormGradParams> = defineOp<NormGradParams>({
  name: "layer-norm-grad",
  shape: (inputs, params) => normGradTypes("layer-norm-grad", named(params.inputs, inputs), params.bias),
  reference: layerNormGradReference,
  decompose: decomposeGrad,
  vjp: (context) => gradientsThrough(decomposeGrad, withZeroCotangents(context)),
  cost: (inputs, outputs) => ({ flops: 12 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/**
 * Layer normalisation over the last axis.
 * @param x `[..., N]`
 * @param weight `[N]`, default ones
 * @param bias `[N]`, default zeros
 * @returns shape and dtype of `x`; half precision is stored only.
 */
export function layerNorm(x: Tensor, weight?: Tensor, bias?: Tensor, options: NormOptions = {}): Tensor {
  checkOptions("layerNorm", options, ["eps"]);
  const { names, tensors } = normTensors(x, weight, bias);
  const [y] = layerNormOp(tensors, { eps: options.eps ?? 1e-5, inputs: names }) as [Tensor];
  return activation(cast(y, isMixed() ? y.dtype : x.dtype));
}
