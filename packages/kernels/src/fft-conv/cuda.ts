// CUDA sources of the long convolution, of kept spectra and of the filter gradient: float32 exactly, halves on the tensor cores.

import type { CudaLowering, CudaSource, CudaTarget, CudaView } from "../cuda-step.ts";
import { isHalf } from "../inputs.ts";
import type { FftConvCachedParams, FftConvSpectrumParams } from "./cached-op.ts";
import { inputViews, type ConvolutionCall, type InputView } from "./cuda-call.ts";
import { lowerSingle, lowerSingleGradient, lowerSingleSpectrum } from "./cuda-single.ts";
import { lowerTensorBackward } from "./cuda-tensor-backward.ts";
import { inSlices, type ChannelAxes } from "./cuda-slices.ts";
import { lowerTensor, lowerTensorSpectrum } from "./cuda-tensor.ts";
import type { FftConvBackwardParams, FftConvGradParams, FftConvParams } from "./op.ts";
import { axesOf, type Layout } from "./sequences.ts";

/** Half-precision sequences are read along time, or transposed; everything else has strides. */
const isSuited = (view: CudaView, layout: Layout): boolean =>
  view.shape.length <= 3 && (!isHalf(view.dtype) || layout === "bld" || view.strides[2] === 1);

type Inputs = (name: "u" | "preGate" | "postGate") => InputView | undefined;

/** What every convolution and gradient reads. */
const sequenceViews = (input: Inputs): Pick<ConvolutionCall, "u" | "preGate" | "postGate"> => ({
  u: input("u")!,
  preGate: input("preGate"),
  postGate: input("postGate"),
});

/** Where channels lie in operands, by their names. What is kept of filters is cut by its own arithmetic. */
const channelAxes = (
  layout: Layout,
  inputs: readonly string[],
  outputs: readonly string[] = ["u"],
): ChannelAxes => {
  const { channel } = axesOf(layout);
  const filters: Readonly<Record<string, number | undefined>> = {
    k: channel - 1,
    skip: 0,
    spectrum: undefined,
  };
  const axis = (name: string): number | undefined => (name in filters ? filters[name] : channel);
  return { inputs: inputs.map(axis), outputs: outputs.map(axis) };
};

function lowerConvolution(
  { layout, circular, adjoint }: Pick<ConvolutionCall, "layout" | "circular" | "adjoint">,
  input: Inputs,
  y: CudaView,
  filter: ConvolutionCall["filter"],
  target: CudaTarget,
): CudaLowering | string {
  if (y.shape.includes(0)) return { steps: [] };
  const call = { ...sequenceViews(input), y, layout, circular, adjoint, filter };
  return isHalf(call.y.dtype) ? lowerTensor(call, target) : lowerSingle(call);
}

export const fftConvCuda: CudaSource<FftConvParams> = {
  accepts: (_, view, { params }) => isSuited(view, params.layout),
  lower: (whole, target) => {
    const { layout, origin, inputs: names } = whole.params;
    const channels = whole.outputs[0]!.shape[axesOf(layout).channel]!;
    return inSlices(whole, channelAxes(layout, names), channels, ({ inputs, outputs }) => {
      const input = inputViews(names, inputs);
      const filter = { k: input("k")!, skip: input("skip"), layout, origin };
      return lowerConvolution(whole.params, input, outputs[0]!, filter, target);
    });
  },
};

/** Kept spectra are read and written 16 bytes at a time. */
const SPECTRUM_ALIGNMENT = 16;

export const fftConvSpectrumCuda: CudaSource<FftConvSpectrumParams> = {
  // That of the spectra, which is walked channel by channel.
  longAxes: true,
  accepts: () => true,
  alignment: (operand) => ("output" in operand ? SPECTRUM_ALIGNMENT : 1),
  lower: (whole, target) => {
    const { layout, circular, origin, length, half, inputs: names } = whole.params;
    const { dtype } = whole.outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const { shape } = inputViews(names, whole.inputs)("k")!.view;
    if (shape.includes(0)) return { steps: [] };
    const axes = channelAxes(layout, names, ["spectrum"]);
    return inSlices(whole, axes, shape[axesOf(layout).channel - 1]!, ({ inputs }, slice) => {
      const input = inputViews(names, inputs);
      const filter = { k: input("k")!, skip: input("skip"), layout, origin };
      const call = { filter, circular, length, slice };
      return half ? lowerTensorSpectrum(call, target) : lowerSingleSpectrum(call);
    });
  },
};

export const fftConvCachedCuda: CudaSource<FftConvCachedParams> = {
  longAxes: true,
  accepts: (_, view, { params }) => view.shape.length === 1 || isSuited(view, params.layout),
  alignment: (operand, { inputs }) =>
    "input" in operand && inputs[operand.input] === "spectrum" ? SPECTRUM_ALIGNMENT : 1,
  lower: (whole, target) => {
    const { layout, inputs: names } = whole.params;
    const longest = Math.max(...whole.outputs[0]!.shape);
    if (longest >= 2 ** 31) return `an axis of ${longest} is longer than ${2 ** 31 - 1}`;
    const channels = whole.outputs[0]!.shape[axesOf(layout).channel]!;
    return inSlices(whole, channelAxes(layout, names), channels, ({ inputs, outputs }, slice) => {
      const input = inputViews(names, inputs);
      const filter = { kept: input("spectrum")!.index, slice };
      return lowerConvolution(whole.params, input, outputs[0]!, filter, target);
    });
  },
};

export const fftConvFilterGradCuda: CudaSource<FftConvGradParams> = {
  accepts: (_, view, { params }) => isSuited(view, params.layout),
  lower: (whole, target) => {
    const { layout, circular, origin, taps, inputs: names } = whole.params;
    if (whole.outputs[0]!.shape.includes(0)) return { steps: [] };
    const channels = inputViews(names, whole.inputs)("u")!.view.shape[axesOf(layout).channel]!;
    return inSlices(whole, channelAxes(layout, names, ["k"]), channels, ({ inputs, outputs }) => {
      const input = inputViews(names, inputs);
      const call = {
        ...sequenceViews(input),
        dy: input("dy")!,
        layout,
        circular,
        origin,
        taps,
      };
      if (!isHalf(call.u.view.dtype)) return lowerSingleGradient(call, outputs[0]!);
      const results = { k: 0 };
      return lowerTensorBackward({ ...call, adjoint: false, filter: undefined, results }, outputs, target);
    });
  },
};

export const fftConvBackwardCuda: CudaSource<FftConvBackwardParams> = {
  accepts: (_, view, { params }) => isSuited(view, params.layout),
  lower: (whole, target) => {
    const { layout, circular, origin, adjoint, wanted, inputs: names } = whole.params;
    const { view } = inputViews(names, whole.inputs)("u")!;
    if (!isHalf(view.dtype)) return "two ops do as well";
    const axes = channelAxes(layout, names, wanted);
    return inSlices(whole, axes, view.shape[axesOf(layout).channel]!, ({ inputs, outputs }) => {
      const input = inputViews(names, inputs);
      const k = input("k")!;
      const call = {
        ...sequenceViews(input),
        dy: input("dy")!,
        layout,
        circular,
        adjoint,
        origin,
        taps: k.view.shape[layout === "bdl" ? 1 : 0]!,
        filter: { k, skip: input("skip"), layout, origin },
        results: Object.fromEntries(wanted.map((name, i) => [name, i])),
      };
      return lowerTensorBackward(call, outputs, target);
    });
  },
};
