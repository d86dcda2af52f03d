// Root-mean-square normalisation over the last axis (Zhang & Sennrich 2019).

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
import { batchRows } from "../batch-rows.ts";
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
import { rmsNormGradReference, rmsNormReference } from "./reference.ts";

export type RmsNormGradInput = "x" | "weight" | "rstd" | "dy";
export interface RmsNormGradParams {
  /** Whether the gradient of the bias is an output (the last). */
  readonly bias: boolean;
  readonly inputs: readonly RmsNormGradInput[];
}

function plain(inputs: readonly Tensor[], params: NormParams): Tensor[] {
  const { x, weight, bias } = named(params.inputs, inputs);
  const r = rsqrt(add(mean(square(x!), -1, { keepDims: true }), params.eps));
  let y = mul(x!, r);
  if (weight) y = mul(y, weight);
  if (bias) y = add(y, bias);
  return [y, squeeze(r, -1)];
}

function plainGrad(inputs: readonly Tensor[], params: RmsNormGradParams): Tensor[] {
  const { x, weight, rstd, dy } = named(params.inputs, inputs);
  const r = unsqueeze(rstd!, -1);
  const h = mul(x!, r);
  const g = weight ? mul(dy!, weight) : dy!;
  const rows = Array.from({ length: x!.rank - 1 }, (_, i) => i);
  return [
    mul(r, sub(g, mul(h, mean(mul(g, h), -1, { keepDims: true })))),
    ...(weight ? [sum(mul(dy!, h), rows)] : []),
    ...(params.bias ? [sum(dy!, rows)] : []),
  ];
}

const decompose = storedHalf(plain, [0]);
const decomposeGrad = storedHalf(plainGrad, [0]);

/** `(x [..., N], weight? [N], bias? [N]) -> (y [..., N], 1 / root mean square [...])`. */
export const rmsNormOp: Op<NormParams> = defineOp<NormParams>({
  name: "rms-norm",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    checkNorm("rms-norm", types);
    return [types.x!, { shape: types.x!.shape.slice(0, -1), dtype: wideDtype(types.x!.dtype) }];
  },
  reference: rmsNormReference,
  decompose,
  vjp: (context) => {
    const { inputs, outputs, params, cotangents } = context;
    if (cotangents[1]) return gradientsThrough(decompose, context);
    const { x, weight, bias } = named(params.inputs, inputs);
    const { names, tensors } = present({ x, weight, rstd: outputs[1], dy: cotangents[0] });
    const found = rmsNormGradOp(tensors, { bias: bias !== undefined, inputs: names });
    return normGradients(params.inputs, found);
  },
  batch: (context) => batchRows(context, context.params.inputs, ["x"]),
  cost: (inputs, outputs) => ({ flops: 5 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/** `(x, weight?, rstd, dy) -> (dx, dweight? [N], dbias? [N])`; the sums over rows run in a fixed order. */
export const rmsNormGradOp: Op<RmsNormGradParams> = defineOp<RmsNormGradParams>({
  name: "rms-norm-grad",
  shape: (inputs, params) => normGradTypes("rms-norm-grad", named(params.inputs, inputs), params.bias),
  reference: rmsNormGradReference,
  decompose: decomposeGrad,
  vjp: (context) => gradientsThrough(decomposeGrad, withZeroCotangents(context)),
  cost: (inputs, outputs) => ({ flops: 9 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/**
 * Root-mean-square normalisation over the last axis: `x / sqrt(mean(x^2) + eps) * weight + bias`.
 * @param x `[..., N]`
 * @param weight `[N]`, default ones
 * @param bias `[N]`, default zeros
 * @returns shape and dtype of `x`; half precision is stored only.
 */
export function rmsNorm(x: Tensor, weight?: Tensor, bias?: Tensor, options: NormOptions = {}): Tensor {
  checkOptions("rmsNorm", options, ["eps"]);
  const { names, tensors } = normTensors(x, weight, bias);
  const [y] = rmsNormOp(tensors, { eps: options.eps ?? 1e-5, inputs: names }) as [Tensor];
  return activation(cast(y, isMixed() ? y.dtype : x.dtype));
}
