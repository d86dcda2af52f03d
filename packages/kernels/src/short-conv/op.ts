// Short causal depthwise convolution, as in front of Hyena, Mamba and linear attention.

import {
  ShapeError,
  add,
  cast,
  checkOptions,
  defineOp,
  depthwiseConv1d,
  flip,
  mul,
  narrow,
  pad,
  reshape,
  show,
  sigmoid,
  silu,
  sizeOf,
  stack,
  sub,
  sum,
  transpose,
  unsqueeze,
  zerosLike,
  type BatchContext,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import type { Layout } from "../fft-conv/op.ts";
import {
  computeDtype,
  inOrder,
  isHalf,
  named,
  need,
  needFloat,
  present,
  widened,
  wideDtype,
} from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { shortConvGradReference, shortConvReference } from "./reference.ts";

export type ShortConvInput = "x" | "w" | "bias" | "inputBias";
export interface ShortConvParams {
  /** `bld`: `[B, T, D]`; `bdl`: `[B, D, T]`. */
  readonly layout: Layout;
  readonly silu: boolean;
  readonly inputs: readonly ShortConvInput[];
}
export type ShortConvGradInput = "x" | "w" | "bias" | "dy";
export interface ShortConvGradParams {
  readonly layout: Layout;
  readonly silu: boolean;
  readonly inputs: readonly ShortConvGradInput[];
}

function check(
  op: string,
  params: { readonly layout: Layout },
  types: Readonly<Record<string, TensorType | undefined>>,
): void {
  const x = types["x"]!;
  const w = types["w"]!;
  const dtype = needFloat(op, "x", x);
  const wide = wideDtype(dtype);
  need(op, "x", x, [undefined, undefined, undefined], params.layout === "bld" ? "[B, T, D]" : "[B, D, T]");
  const channels = x.shape[params.layout === "bld" ? 2 : 1];
  need(op, "w", w, [channels, undefined], "[D, W]", wide);
  if (w.shape[1] === 0) throw new ShapeError(op, "the filter has no taps", { got: show(w.shape) });
  if (types["bias"]) need(op, "bias", types["bias"], [channels], "[D]", wide);
  if (types["inputBias"]) need(op, "inputBias", types["inputBias"], [channels], "[D]", wide);
  if (types["dy"]) need(op, "dy", types["dy"], x.shape, "shape of x", dtype);
}

const timeMajor = (t: Tensor, layout: Layout): Tensor => (layout === "bld" ? t : transpose(t));

function preActivation(x: Tensor, w: Tensor, bias: Tensor | undefined): Tensor {
  const z = depthwiseConv1d(x, w);
  return bias ? add(z, bias) : z;
}

function decompose(inputs: readonly Tensor[], params: ShortConvParams): Tensor[] {
  const { x, w, bias, inputBias } = named(params.inputs, inputs);
  const u = timeMajor(widened(x!), params.layout);
  const z = preActivation(inputBias ? add(u, inputBias) : u, w!, bias);
  return [cast(timeMajor(params.silu ? silu(z) : z, params.layout), x!.dtype)];
}

function decomposeGrad(inputs: readonly Tensor[], params: ShortConvGradParams): Tensor[] {
  const { x, w, bias, dy } = named(params.inputs, inputs);
  const u = timeMajor(widened(x!), params.layout);
  let dz = timeMajor(widened(dy!), params.layout);
  if (params.silu) {
    const z = preActivation(u, w!, bias);
    const s = sigmoid(z);
    dz = mul(dz, mul(s, add(mul(z, sub(1, s)), 1)));
  }
  const [, time] = u.shape as [number, number, number];
  const width = w!.shape[1]!;
  // The adjoint looks ahead: the reversed filter with all its zeros behind.
  const dx = depthwiseConv1d(dz, flip(w!, 1), { left: 0 });
  const wide = pad(u, [
    [width - 1, 0],
    [0, 0],
  ]);
  const taps = Array.from({ length: width }, (_, j) => sum(mul(dz, narrow(wide, 1, j, j + time)), [0, 1]));
  const outputs = [cast(timeMajor(dx, params.layout), x!.dtype), stack(taps, 1)];
  return [...outputs, ...(bias ? [sum(dz, [0, 1])] : [])];
}

/**
 * `(x, w [D, W], bias? [D], inputBias? [D]) -> y`, shape of x; the bias of the input joins x at every step, not the zeros before it. Half
 * precision is for x and y; taps and biases are f32 then.
 */
export const shortConvOp: Op<ShortConvParams> = defineOp<ShortConvParams>({
  name: "short-conv",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check("short-conv", params, types);
    return [types.x!];
  },
  reference: shortConvReference,
  decompose,
  vjp: (context) => {
    const { inputs, params, cotangents } = context;
    const { x, w, bias, inputBias } = named(params.inputs, inputs);
    if (inputBias) return gradientsThrough(decompose, context);
    const { names, tensors } = present({ x, w, bias, dy: cotangents[0] });
    const [dx, dw, dbias] = shortConvGradOp(tensors, { ...params, inputs: names });
    return inOrder(params.inputs, { x: dx!, w: dw!, ...(dbias ? { bias: dbias } : {}) });
  },
  batch: (context) => foldBatch(context),
  cost: (inputs, outputs, params) => {
    const { x, w } = named(params.inputs, inputs);
    return { flops: 2 * sizeOf(x!.shape) * w!.shape[1]!, bytes: bytesMoved(inputs, outputs) };
  },
});

/** `(x, w, bias?, dy) -> (dx, dw [D, W], dbias? [D])`. */
export const shortConvGradOp: Op<ShortConvGradParams> = defineOp<ShortConvGradParams>({
  name: "short-conv-grad",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check("short-conv-grad", params, types);
    return [types.x!, types.w!, ...(types.bias ? [types.bias] : [])];
  },
  reference: shortConvGradReference,
  decompose: decomposeGrad,
  vjp: (context) => {
    const cotangents = context.outputs.map((t, i) => context.cotangents[i] ?? zerosLike(t));
    return gradientsThrough(decomposeGrad, { ...context, cotangents });
  },
  cost: (inputs, outputs, params) => {
    const { x, w } = named(params.inputs, inputs);
    return { flops: 4 * sizeOf(x!.shape) * w!.shape[1]!, bytes: bytesMoved(inputs, outputs) };
  },
});

/** Shared filters: the mapped axis joins the batch. Otherwise once per example. */
function foldBatch(context: BatchContext<ShortConvParams>): Tensor[] | undefined {
  const { inputs, mapped, size, params } = context;
  if (mapped.some((m, i) => m && params.inputs[i] !== "x")) return undefined;
  const [x, ...rest] = inputs as [Tensor, ...Tensor[]];
  const [y] = context.apply([reshape(x, [size * x.shape[1]!, ...x.shape.slice(2)]), ...rest]);
  return [reshape(y!, x.shape)];
}

export interface ShortConvOptions {
  /** `[D]`. */
  readonly bias?: Tensor;
  /** `[D]`: joins `x` at every step, for a projection whose product leaves its bias to this pass. */
  readonly inputBias?: Tensor;
  /** Applies `z sigmoid(z)` to the result. Default false. */
  readonly silu?: boolean;
  /** `bld`: x is `[B, T, D]` (default); `bdl`: `[B, D, T]`. */
  readonly layout?: Layout;
}

/**
 * Causal depthwise convolution with few taps: `y[t] = bias + sum_j w[:, j] x[t - (W - 1) + j]`; the last tap acts on the
 * present, as in `Conv1d` with W - 1 zeros in front.
 * @param x `[B, T, D]`, or `[B, D, T]` with layout `bdl`
 * @param w `[D, W]` (torch's `[D, 1, W]` is taken too)
 * @returns shape and dtype of `x`; half precision is read and written as it is, sums are f32.
 */
export function shortConv(x: Tensor, w: Tensor, options: ShortConvOptions = {}): Tensor {
  checkOptions("shortConv", options, ["bias", "inputBias", "silu", "layout"]);
  const { layout = "bld", silu: activate = false } = options;
  const filter = w.rank === 3 && w.shape[1] === 1 ? reshape(w, [w.shape[0]!, w.shape[2]!]) : w;
  if (x.rank !== 3 || filter.rank !== 2) {
    throw new ShapeError("shortConv", "wrong ranks", {
      expected: "x [B, T, D] and w [D, W]",
      got: `${show(x.shape)} and ${show(w.shape)}`,
    });
  }
  const { bias, inputBias } = options;
  const dtype = computeDtype([x, filter, bias, inputBias]);
  const half = isHalf(x.dtype) && dtype === "f32";
  const wide = (t: Tensor): Tensor => cast(t, dtype);
  const shifted = (by: Tensor): Tensor => add(wide(x), layout === "bld" ? by : unsqueeze(by, -1));
  // Only halves save by it: they would be rounded and moved once more.
  const { names, tensors } = present({
    x: half ? x : inputBias ? shifted(wide(inputBias)) : wide(x),
    w: wide(filter),
    bias: bias && wide(bias),
    inputBias: half ? inputBias && wide(inputBias) : undefined,
  });
  return cast(shortConvOp(tensors, { layout, silu: activate, inputs: names })[0]!, x.dtype);
}
