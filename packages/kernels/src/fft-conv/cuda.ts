// CUDA sources of the long convolution, of kept spectra and of the filter gradient: float32 exactly, halves on the tensor cores.

import type { CudaLowering, CudaSource, CudaTarget, CudaView } from "../cuda-step.ts";
import { isHalf } from "../inputs.ts";
import type { FftConvCachedParams, FftConvSpectrumParams } from "./cached-op.ts";
import { inputViews, type ConvolutionCall } from "./cuda-call.ts";
import { lowerSingle, lowerSingleGradient, lowerSingleSpectrum } from "./cuda-single.ts";
import { lowerTensorBackward } from "./cuda-tensor-backward.ts";
import { lowerTensor, lowerTensorSpectrum } from "./cuda-tensor.ts";
import type { FftConvBackwardParams, FftConvGradParams, FftConvParams } from "./op.ts";
import type { Layout } from "./sequences.ts";

/** Half-precision sequences are read along time, or transposed; everything else has strides. */
const isSuited = (view: CudaView, layout: Layout): boolean =>
  view.shape.length <= 3 && (!isHalf(view.dtype) || layout === "bld" || view.strides[2] === 1);

function lowerConvolution(call: ConvolutionCall, target: CudaTarget): CudaLowering | string {
  if (call.y.shape.includes(0)) return { steps: [] };
  return isHalf(call.y.dtype) ? lowerTensor(call, target) : lowerSingle(call);
}

export const fftConvCuda: CudaSource<FftConvParams> = {
  accepts: (_, view, { params }) => isSuited(view, params.layout),
  lower: ({ inputs, outputs, params }, target) => {
    const { layout, circular, origin, adjoint } = params;
    const input = inputViews(params.inputs, inputs);
    const call = {
      u: input("u")!,
      preGate: input("preGate"),
      postGate: input("postGate"),
      y: outputs[0]!,
      layout,
      circular,
      adjoint,
      filter: { k: input("k")!, skip: input("skip"), layout, origin },
    };
    return lowerConvolution(call, target);
  },
};

/** Kept spectra are read and written 16 bytes at a time. */
const SPECTRUM_ALIGNMENT = 16;

export const fftConvSpectrumCuda: CudaSource<FftConvSpectrumParams> = {
  accepts: () => true,
  alignment: (operand) => ("output" in operand ? SPECTRUM_ALIGNMENT : 1),
  lower: ({ inputs, outputs, params }, target) => {
    const { layout, circular, origin, length, half } = params;
    const input = inputViews(params.inputs, inputs);
    if (outputs[0]!.dtype !== "f32") return `no kernel for ${outputs[0]!.dtype}`;
    const filter = { k: input("k")!, skip: input("skip"), layout, origin };
    if (filter.k.view.shape.includes(0)) return { steps: [] };
    const call = { filter, circular, length };
    return half ? lowerTensorSpectrum(call, target) : lowerSingleSpectrum(call);
  },
};

export const fftConvCachedCuda: CudaSource<FftConvCachedParams> = {
  accepts: (_, view, { params }) => view.shape.length === 1 || isSuited(view, params.layout),
  alignment: (operand, { inputs }) =>
    "input" in operand && inputs[operand.input] === "spectrum" ? SPECTRUM_ALIGNMENT : 1,
  lower: ({ inputs, outputs, params }, target) => {
    const { layout, circular, adjoint } = params;
    const input = inputViews(params.inputs, inputs);
    const call = {
      u: input("u")!,
      preGate: input("preGate"),
      postGate: input("postGate"),
      y: outputs[0]!,
      layout,
      circular,
      adjoint,
      filter: { kept: input("spectrum")!.index },
    };
    return lowerConvolution(call, target);
  },
};

export const fftConvFilterGradCuda: CudaSource<FftConvGradParams> = {
  accepts: (_, view, { params }) => isSuited(view, params.layout),
  lower: ({ inputs, outputs, params }, target) => {
    const { layout, circular, origin, taps } = params;
    const input = inputViews(params.inputs, inputs);
    const call = {
      u: input("u")!,
      dy: input("dy")!,
      preGate: input("preGate"),
      postGate: input("postGate"),
      layout,
      circular,
      origin,
      taps,
    };
    if (outputs[0]!.shape.includes(0)) return { steps: [] };
    if (!isHalf(call.u.view.dtype)) return lowerSingleGradient(call, outputs[0]!);
    const results = { k: 0 };
    return lowerTensorBackward({ ...call, adjoint: false, filter: undefined, results }, outputs, target);
  },
};

export const fftConvBackwardCuda: CudaSource<FftConvBackwardParams> = {
  accepts: (_, view, { params }) => isSuited(view, params.layout),
  lower: ({ inputs, outputs, params }, target) => {
    const { layout, circular, origin, adjoint, wanted } = params;
    const input = inputViews(params.inputs, inputs);
    const u = input("u")!;
    if (!isHalf(u.view.dtype)) return "two ops do as well";
    const k = input("k")!;
    const call = {
      u,
      dy: input("dy")!,
      preGate: input("preGate"),
      postGate: input("postGate"),
      layout,
      circular,
      adjoint,
      origin,
      taps: k.view.shape[layout === "bdl" ? 1 : 0]!,
      filter: { k, skip: input("skip"), layout, origin },
      results: Object.fromEntries(wanted.map((name, i) => [name, i])),
    };
    return lowerTensorBackward(call, outputs, target);
  },
};
