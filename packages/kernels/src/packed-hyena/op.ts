// The recurrence of Hyena of order 2 (Poli et al. 2023) straight from its joint projection: `u_0 (k * (u_1 u_2) + skip u_1 u_2)`, one call
// forward and one backward, where the parts would be cut, gated and joined apart.

import {
  defineOp,
  reshape,
  ShapeError,
  sizeOf,
  split,
  unsqueeze,
  broadcastTo,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { fftConv } from "../fft-conv/fft-conv.ts";
import { inOrder, named, need, needFloat, present, wideDtype } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { packedHyenaGradReference, packedHyenaReference } from "./reference.ts";

export type PackedHyenaInput = "u" | "k" | "skip" | "dy";
export interface PackedHyenaParams {
  readonly inputs: readonly PackedHyenaInput[];
}

function check(op: string, types: Readonly<Record<string, TensorType | undefined>>): TensorType {
  const u = types["u"]!;
  const dtype = needFloat(op, "u", u);
  const wide = wideDtype(dtype);
  need(op, "u", u, [undefined, undefined, undefined], "[B, T, 3 C]");
  const [batch, time, width] = u.shape as [number, number, number];
  if (width % 3 !== 0) throw new ShapeError(op, "three parts do not divide the width", { got: `${width}` });
  const channels = width / 3;
  need(op, "k", types["k"]!, [undefined, channels], "[taps, C]", wide);
  if (types["k"]!.shape[0]! > time)
    throw new ShapeError(op, "the filter is longer than the sequence", { expected: `at most ${time}` });
  if (types["skip"]) need(op, "skip", types["skip"], [channels], "[C]", wide);
  const y = { shape: [batch, time, channels], dtype };
  if (types["dy"]) need(op, "dy", types["dy"], y.shape, "[B, T, C]", dtype);
  return y;
}

function decompose(inputs: readonly Tensor[], params: PackedHyenaParams): Tensor[] {
  const { u, k, skip } = named(params.inputs, inputs);
  const [postGate, preGate, v] = split(u!, 3, -1) as [Tensor, Tensor, Tensor];
  return [fftConv(v, k!, { layout: "bld", preGate, postGate, ...(skip ? { skip } : {}) })];
}

function decomposeGrad(inputs: readonly Tensor[], params: PackedHyenaParams): Tensor[] {
  const names = params.inputs.filter((n) => n !== "dy");
  return gradientsThrough<PackedHyenaParams>(decompose, {
    inputs: names.map((n) => inputs[params.inputs.indexOf(n)]!),
    outputs: [],
    params: { inputs: names },
    cotangents: [inputs[params.inputs.indexOf("dy")]!],
    needed: names.map(() => true),
  }) as Tensor[];
}

const flops = ({ shape }: TensorType): number =>
  Math.round(5 * sizeOf(shape) * Math.log2(Math.max(2, shape[1]!)));

/** `(u [B, T, 3 C]: output gate, input gate, values; k [taps, C]; skip? [C]) -> [B, T, C]`; u may be half, k and skip are f32 then. */
export const packedHyenaOp: Op<PackedHyenaParams> = defineOp<PackedHyenaParams>({
  name: "packed-hyena",
  shape: (inputs, params) => [check("packed-hyena", named(params.inputs, inputs))],
  reference: packedHyenaReference,
  decompose,
  vjp: ({ inputs, params, cotangents }) => {
    const t = named(params.inputs, inputs);
    const { names, tensors } = present({ ...t, dy: cotangents[0] });
    const [u, k, skip] = packedHyenaGradOp(tensors, { inputs: names });
    return inOrder(params.inputs, { u: u!, k: k!, ...(skip ? { skip } : {}) });
  },
  batch: ({ inputs, mapped, size, params, apply }) => {
    if (mapped.some((m, i) => m && params.inputs[i] !== "u")) return undefined;
    const u = inputs[params.inputs.indexOf("u")]!;
    const wide = mapped[params.inputs.indexOf("u")]! ? u : broadcastTo(unsqueeze(u, 0), [size, ...u.shape]);
    const flat = reshape(wide, [size * wide.shape[1]!, ...wide.shape.slice(2)]);
    const [y] = apply(inputs.map((t, i) => (params.inputs[i] === "u" ? flat : t))) as [Tensor];
    return [reshape(y, [size, y.shape[0]! / size, ...y.shape.slice(1)])];
  },
  cost: (inputs, outputs) => ({ flops: flops(inputs[0]!), bytes: bytesMoved(inputs, outputs) }),
});

/** `(u, k, skip?, dy) -> (du, dk, dskip?)`; the sums over the batch run in a fixed order. */
export const packedHyenaGradOp: Op<PackedHyenaParams> = defineOp<PackedHyenaParams>({
  name: "packed-hyena-grad",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check("packed-hyena-grad", types);
    return [types.u!, types.k!, ...(types.skip ? [types.skip] : [])];
  },
  reference: packedHyenaGradReference,
  decompose: decomposeGrad,
  vjp: (context) => gradientsThrough(decomposeGrad, context),
  cost: (inputs, outputs) => ({ flops: 3 * flops(inputs[0]!), bytes: bytesMoved(inputs, outputs) }),
});

/**
 * Hyena's gates and long convolution of `u` `[B, T, 3 C]`.
 * @param k `[taps, C]`: lags 0, 1, ..., at most T
 * @param skip `[C]`: weight of the gated input itself
 * @returns `[B, T, C]` in the dtype of `u`
 */
export function packedHyena(u: Tensor, k: Tensor, skip?: Tensor): Tensor {
  const { names, tensors } = present({ u, k, skip });
  return packedHyenaOp(tensors, { inputs: names })[0]!;
}
