// Long depthwise convolution with gates and a skip, and its gradient with respect to the filter. Both are linear in each
// of their inputs, and every gradient is one of the two again: they can be differentiated any number of times. Sequences may be
// stored in half precision; filters, skips and their gradients are f32 then.

import { ShapeError, defineOp, mul, show, sum, type Op, type Tensor } from "@everlong/core";
import { inOrder, named, need, needFloat, present, wideDtype, widened } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { foldIntoBatch } from "../batch-rows.ts";
import { fftConvByTransform, filterGradByTransform } from "./decompose.ts";
import { fftConvBackwardReference, fftConvFilterGradReference, fftConvReference } from "./reference.ts";
import { axesOf, checkSequences, convolutionCost, type Layout } from "./sequences.ts";

export type { Layout } from "./sequences.ts";

export type FftConvInput = "u" | "k" | "skip" | "preGate" | "postGate";
export interface FftConvParams {
  readonly layout: Layout;
  /** Indices modulo L instead of zeros outside. */
  readonly circular: boolean;
  /** Which tap acts at lag 0; tap j acts at lag j - origin. Causal: 0. */
  readonly origin: number;
  /** The transposed operator: lags change their sign. */
  readonly adjoint: boolean;
  /** Names of the inputs, in order. */
  readonly inputs: readonly FftConvInput[];
}

export type FftConvGradInput = "u" | "dy" | "preGate" | "postGate";
export interface FftConvGradParams {
  readonly layout: Layout;
  readonly circular: boolean;
  readonly origin: number;
  /** Length J of the filter. */
  readonly taps: number;
  readonly inputs: readonly FftConvGradInput[];
}

export type FftConvBackwardInput = FftConvInput | "dy";
const BACKWARD_OUTPUTS = ["u", "k", "preGate", "postGate"] as const;
export type FftConvBackwardOutput = (typeof BACKWARD_OUTPUTS)[number];
export interface FftConvBackwardParams {
  readonly layout: Layout;
  readonly circular: boolean;
  readonly origin: number;
  readonly adjoint: boolean;
  readonly inputs: readonly FftConvBackwardInput[];
  /** Whose gradients, in the order of the outputs. */
  readonly wanted: readonly FftConvBackwardOutput[];
}

export const fftConvOp: Op<FftConvParams> = defineOp<FftConvParams>({
  name: "fft-conv",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    const { time, channel } = axesOf(params.layout);
    const k = types.k!;
    need(
      "fft-conv",
      "k",
      k,
      [undefined, undefined],
      params.layout === "bdl" ? "[D, J]" : "[J, D]",
      wideDtype(needFloat("fft-conv", "u", types.u!)),
    );
    checkSequences("fft-conv", params, types, k.shape[time - 1]!);
    const channels = types.u!.shape[channel]!;
    if (k.shape[channel - 1] !== channels) {
      throw new ShapeError("fft-conv", "u and k differ in channels", {
        expected: `${channels} filters`,
        got: `k ${show(k.shape)} in layout "${params.layout}"`,
      });
    }
    return [types.u!];
  },
  reference: fftConvReference,
  decompose: fftConvByTransform,
  vjp: ({ inputs, params, cotangents, needed }) => {
    const dy = cotangents[0]!;
    const { u, k, skip, preGate, postGate } = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    const { layout } = params;
    const wanted = BACKWARD_OUTPUTS.filter((name) => want[name]);
    const tensors = { u, k, skip, preGate, postGate, dy };
    const out: { [K in FftConvInput]?: Tensor } = {};
    if (want.k && wanted.length > 1) {
      const { names, tensors: list } = present(tensors);
      const found = fftConvBackwardOp(list, { ...params, inputs: names, wanted });
      wanted.forEach((name, i) => (out[name] = found[i]!));
    } else {
      Object.assign(out, backwardByParts(tensors, params, wanted));
    }
    if (want.skip) {
      const z = preGate ? mul(widened(u!), widened(preGate)) : widened(u!);
      const dc = postGate ? mul(widened(dy), widened(postGate)) : widened(dy);
      out.skip = sum(mul(z, dc), [0, axesOf(layout).time]);
    }
    return inOrder(params.inputs, out);
  },
  batch: (context) =>
    foldIntoBatch(
      context,
      context.params.inputs.map((name) => name === "k" || name === "skip"),
    ),
  cost: (inputs, outputs, params) =>
    convolutionCost(named(params.inputs, inputs).u!, params.layout, 3, [...inputs, ...outputs]),
});

export const fftConvFilterGradOp: Op<FftConvGradParams> = defineOp<FftConvGradParams>({
  name: "fft-conv-filter-grad",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    checkSequences("fft-conv-filter-grad", params, types, params.taps);
    const channels = types.u!.shape[axesOf(params.layout).channel]!;
    const shape = params.layout === "bdl" ? [channels, params.taps] : [params.taps, channels];
    return [{ shape, dtype: wideDtype(types.u!.dtype) }];
  },
  reference: fftConvFilterGradReference,
  decompose: filterGradByTransform,
  vjp: ({ inputs, params, cotangents, needed }) => {
    // dk[j] = sum dc[t] z[t - j + origin]: bilinear, so its gradients are convolutions with the cotangent as filter.
    const g = cotangents[0]!;
    const { u, dy, preGate, postGate } = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    const { layout, circular, origin } = params;
    const shared = { layout, circular, origin };
    const out: { [K in FftConvGradInput]?: Tensor } = {};
    const side = (
      name: "u" | "dy",
      gateName: "preGate" | "postGate",
      x: Tensor,
      gate: Tensor | undefined,
      other: Tensor,
      otherGate: Tensor | undefined,
      adjoint: boolean,
    ): void => {
      if (!want[name] && !want[gateName]) return;
      const fused = want[gateName] ? undefined : gate;
      const dz = call(
        { u: other, k: g, skip: undefined, preGate: otherGate, postGate: fused },
        { ...shared, adjoint },
      );
      if (want[gateName]) out[gateName] = mul(dz, x);
      if (want[name]) out[name] = want[gateName] && gate ? mul(dz, gate) : dz;
    };
    side("dy", "postGate", dy!, postGate, u!, preGate, false);
    side("u", "preGate", u!, preGate, dy!, postGate, true);
    return inOrder(params.inputs, out);
  },
  cost: (inputs, outputs, params) =>
    convolutionCost(named(params.inputs, inputs).u!, params.layout, 3, [...inputs, ...outputs]),
});

/**
 * Gradients of {@link fftConvOp} with respect to several inputs at once, the filter among them, from a cotangent `dy`. They share the
 * transforms of u and dy; a device without a kernel makes each by an op of its own.
 */
export const fftConvBackwardOp: Op<FftConvBackwardParams> = defineOp<FftConvBackwardParams>({
  name: "fft-conv-backward",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    checkSequences("fft-conv-backward", params, types, types.k!.shape[axesOf(params.layout).time - 1]!);
    return params.wanted.map((name) => types[name]!);
  },
  reference: fftConvBackwardReference,
  decompose: backwardByOps,
  vjp: (context) => gradientsThrough(backwardByOps, context),
  cost: (inputs, outputs, params) =>
    convolutionCost(named(params.inputs, inputs).u!, params.layout, 2 + params.wanted.length, [
      ...inputs,
      ...outputs,
    ]),
});

function backwardByOps(inputs: readonly Tensor[], params: FftConvBackwardParams): Tensor[] {
  const found = backwardByParts(named(params.inputs, inputs), params, params.wanted);
  return params.wanted.map((name) => found[name]!);
}

/** The gradients that {@link fftConvBackwardOp} gives, by ops of their own. */
function backwardByParts(
  { u, k, skip, preGate, postGate, dy }: { readonly [K in FftConvBackwardInput]?: Tensor },
  { layout, circular, origin, adjoint }: Omit<FftConvParams, "inputs">,
  wanted: readonly FftConvBackwardOutput[],
): { [K in FftConvBackwardOutput]?: Tensor } {
  const want = (name: FftConvBackwardOutput): boolean => wanted.includes(name);
  const out: { [K in FftConvBackwardOutput]?: Tensor } = {};
  const shared = { layout, circular, origin };
  if (want("u") || want("preGate")) {
    // dz = adjoint of the convolution, applied to the gated cotangent; when only du is wanted the gate fuses too.
    const gate = want("preGate") ? undefined : preGate;
    const dz = call({ u: dy, k, skip, preGate: postGate, postGate: gate }, { ...shared, adjoint: !adjoint });
    if (want("preGate")) out.preGate = mul(dz, u!);
    if (want("u")) out.u = want("preGate") && preGate ? mul(dz, preGate) : dz;
  }
  if (want("k")) {
    // The adjoint reads z[t + j - origin]: the roles of z and dc swap.
    const taps = k!.shape[axesOf(layout).time - 1]!;
    out.k = adjoint
      ? filterGrad({ u: dy, dy: u, preGate: postGate, postGate: preGate }, { ...shared, taps })
      : filterGrad({ u, dy, preGate, postGate }, { ...shared, taps });
  }
  if (want("postGate")) {
    const c = call({ u, k, skip, preGate, postGate: undefined }, { ...shared, adjoint });
    out.postGate = mul(dy!, c);
  }
  return out;
}

const call = (
  tensors: { readonly [K in FftConvInput]: Tensor | undefined },
  params: Omit<FftConvParams, "inputs">,
): Tensor => {
  const { names, tensors: list } = present(tensors);
  return fftConvOp(list, { ...params, inputs: names })[0]!;
};

const filterGrad = (
  tensors: { readonly [K in FftConvGradInput]: Tensor | undefined },
  params: Omit<FftConvGradParams, "inputs">,
): Tensor => {
  const { names, tensors: list } = present(tensors);
  return fftConvFilterGradOp(list, { ...params, inputs: names })[0]!;
};
