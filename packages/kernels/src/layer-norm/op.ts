// Layer normalisation over the last axis (Ba, Kiros & Hinton 2016).

import {
  ShapeError,
  add,
  cast,
  checkOptions,
  defineOp,
  mean,
  mul,
  rsqrt,
  show,
  sizeOf,
  square,
  squeeze,
  sub,
  sum,
  unsqueeze,
  zerosLike,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { inOrder, named, need, needCompute, inOneDtype, present } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { batchRows } from "../batch-rows.ts";
import { layerNormGradReference, layerNormReference } from "./reference.ts";

export type NormInput = "x" | "weight" | "bias";
export interface NormParams {
  readonly eps: number;
  readonly inputs: readonly NormInput[];
}

export type NormGradInput = "x" | "weight" | "mean" | "rstd" | "dy";
export interface NormGradParams {
  /** Whether the gradient of the bias is an output (the last). */
  readonly bias: boolean;
  readonly inputs: readonly NormGradInput[];
}

/** Checks rows `[..., N]` with weights `[N]`; gives the dtype. */
export function checkNorm(op: string, types: Readonly<Record<string, TensorType | undefined>>): void {
  const x = types["x"]!;
  const dtype = needCompute(op, "x", x);
  const n = x.shape[x.shape.length - 1];
  if (n === undefined || n === 0) {
    throw new ShapeError(op, "needs rows of at least one element", {
      expected: "x [..., N]",
      got: show(x.shape),
    });
  }
  for (const name of ["weight", "bias"]) if (types[name]) need(op, name, types[name], [n], "[N]", dtype);
  for (const name of ["mean", "rstd"]) {
    if (types[name]) need(op, name, types[name], x.shape.slice(0, -1), "x without the last axis", dtype);
  }
  if (types["dy"]) need(op, "dy", types["dy"], x.shape, "shape of x", dtype);
}

function decompose(inputs: readonly Tensor[], params: NormParams): Tensor[] {
  const { x, weight, bias } = named(params.inputs, inputs);
  const m = mean(x!, -1, { keepDims: true });
  const centred = sub(x!, m);
  const r = rsqrt(add(mean(square(centred), -1, { keepDims: true }), params.eps));
  let y = mul(centred, r);
  if (weight) y = mul(y, weight);
  if (bias) y = add(y, bias);
  return [y, squeeze(m, -1), squeeze(r, -1)];
}

function decomposeGrad(inputs: readonly Tensor[], params: NormGradParams): Tensor[] {
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

/** `(x [..., N], weight? [N], bias? [N]) -> (y [..., N], mean [...], 1 / standard deviation [...])`. */
export const layerNormOp: Op<NormParams> = defineOp<NormParams>({
  name: "layer-norm",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    checkNorm("layer-norm", types);
    const rows = { shape: types.x!.shape.slice(0, -1), dtype: types.x!.dtype };
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
    const [dx, ...rest] = layerNormGradOp(tensors, { bias: bias !== undefined, inputs: names });
    const found = {
      x: dx!,
      ...(weight ? { weight: rest[0]! } : {}),
      ...(bias ? { bias: rest[rest.length - 1]! } : {}),
    };
    return inOrder(params.inputs, found);
  },
  batch: (context) => batchRows(context, context.params.inputs, ["x"]),
  cost: (inputs, outputs) => ({ flops: 8 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/** `(x, weight?, mean, rstd, dy) -> (dx, dweight? [N], dbias? [N])`; the sums over rows run in a fixed order. */
export const layerNormGradOp: Op<NormGradParams> = defineOp<NormGradParams>({
  name: "layer-norm-grad",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    checkNorm("layer-norm-grad", types);
    const x = types.x!;
    const column = { shape: x.shape.slice(-1), dtype: x.dtype };
    return [x, ...(types.weight ? [column] : []), ...(params.bias ? [column] : [])];
  },
  reference: layerNormGradReference,
  decompose: decomposeGrad,
  vjp: (context) => {
    // dy may be used without dx: a missing cotangent counts as zero.
    const cotangents = context.outputs.map((t, i) => context.cotangents[i] ?? zerosLike(t));
    return gradientsThrough(decomposeGrad, { ...context, cotangents });
  },
  cost: (inputs, outputs) => ({ flops: 12 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

export interface NormOptions {
  /** Added to the variance (mean square). Default 1e-5. */
  readonly eps?: number;
}

/**
 * Layer normalisation over the last axis.
 * @param x `[..., N]`
 * @param weight `[N]`, default ones
 * @param bias `[N]`, default zeros
 * @returns shape and dtype of `x`; half precision is stored only.
 */
export function layerNorm(x: Tensor, weight?: Tensor, bias?: Tensor, options: NormOptions = {}): Tensor {
  checkOptions("layerNorm", options, ["eps"]);
  const { names, tensors } = inOneDtype({ x, weight, bias });
  return cast(layerNormOp(tensors, { eps: options.eps ?? 1e-5, inputs: names })[0]!, x.dtype);
}
