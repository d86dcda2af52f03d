// Filters kept as spectra: one op makes the spectrum, the other convolves with it. Between the two lies an opaque tensor, whose
// contents every device chooses for itself; README.md, "Kept filters", states the contract.

import {
  defineOp,
  mul,
  narrow,
  reshape,
  transpose,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { inOrder, isHalf, named, need, needCompute, present, wideDtype } from "../inputs.ts";
import { foldIntoBatch } from "../batch-rows.ts";
import { cachedByTransform, spectrumByMoves } from "./decompose.ts";
import { fftConvFilterGradOp, type FftConvGradParams } from "./op.ts";
import { plainSpectrum, rowsOfPlain, spectrumShape } from "./plain-spectrum.ts";
import { cachedReference, spectrumReference } from "./reference.ts";
import { axesOf, checkLags, checkSequences, convolutionCost, type Layout } from "./sequences.ts";

export interface FftConvSpectrumParams {
  readonly layout: Layout;
  readonly circular: boolean;
  readonly origin: number;
  /** Length L of the sequences that will be convolved. */
  readonly length: number;
  /** Whether they will be f16 or bf16. Default false. */
  readonly half?: boolean;
  readonly inputs: readonly ("k" | "skip")[];
}

export type FftConvCachedInput = "u" | "spectrum" | "preGate" | "postGate";
export interface FftConvCachedParams {
  readonly layout: Layout;
  readonly circular: boolean;
  readonly origin: number;
  /** Length J of the filter that the spectrum was made of. */
  readonly taps: number;
  /** The transposed operator, from the same spectrum. */
  readonly adjoint: boolean;
  readonly inputs: readonly FftConvCachedInput[];
}

/**
 * `(k, skip?) -> spectrum`, a tensor of `spectrumShape(D, L, half)` for {@link fftConvCachedOp}. A device that has a kernel for one of
 * the two must have one for the other under the same conditions: the contents are theirs alone.
 */
export const fftConvSpectrumOp: Op<FftConvSpectrumParams> = defineOp<FftConvSpectrumParams>({
  name: "fft-conv-spectrum",
  shape: (inputs, params) => {
    const { k, skip } = named(params.inputs, inputs);
    const letters = params.layout === "bdl" ? "[D, J]" : "[J, D]";
    need("fft-conv-spectrum", "k", k!, [undefined, undefined], letters);
    const dtype = needCompute("fft-conv-spectrum", "k", k!);
    const { time, channel } = axesOf(params.layout);
    const channels = k!.shape[channel - 1]!;
    if (skip) need("fft-conv-spectrum", "skip", skip, [channels], "[D]", dtype);
    checkLags("fft-conv-spectrum", params, k!.shape[time - 1]!, params.length);
    return [{ shape: spectrumShape(channels, params.length, params.half), dtype }];
  },
  reference: spectrumReference,
  decompose: spectrumByMoves,
  // Cotangents of spectra are in plain form on every device.
  vjp: ({ inputs, params, cotangents, needed }) => {
    const { k } = named(params.inputs, inputs);
    const { time, channel } = axesOf(params.layout);
    const rows = rowsOfPlain(cotangents[0]!, k!.shape[channel - 1]!, k!.shape[time - 1]!);
    const want = named(params.inputs, needed);
    return inOrder(params.inputs, {
      ...(want.k ? { k: params.layout === "bdl" ? rows : transpose(rows) } : {}),
      ...(want.skip ? { skip: reshape(narrow(rows, 1, params.origin, params.origin + 1), [-1]) } : {}),
    });
  },
  cost: (inputs, outputs, params) => {
    const { k } = named(params.inputs, inputs);
    const channels = k!.shape[axesOf(params.layout).channel - 1]!;
    const sequences: TensorType = { shape: [1, channels, params.length], dtype: k!.dtype };
    return convolutionCost(sequences, "bdl", 1, [...inputs, ...outputs]);
  },
});

/** `(u, spectrum, preGate?, postGate?) -> y`: `fftConvOp` with the filter and the skip weights of {@link fftConvSpectrumOp}. */
export const fftConvCachedOp: Op<FftConvCachedParams> = defineOp<FftConvCachedParams>({
  name: "fft-conv-cached",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    checkSequences("fft-conv-cached", params, types, params.taps);
    const u = types.u!;
    const { time, channel } = axesOf(params.layout);
    const kept = spectrumShape(u.shape[channel]!, u.shape[time]!, isHalf(u.dtype));
    need("fft-conv-cached", "spectrum", types.spectrum!, kept, "[S]", wideDtype(u.dtype));
    return [u];
  },
  reference: cachedReference,
  decompose: cachedByTransform,
  vjp: ({ inputs, params, cotangents, needed }) => {
    const dy = cotangents[0]!;
    const { u, spectrum, preGate, postGate } = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    const { layout, circular, origin, taps, adjoint } = params;
    const convolve = (
      tensors: { readonly [K in FftConvCachedInput]: Tensor | undefined },
      transposed: boolean,
    ): Tensor => {
      const { names, tensors: list } = present(tensors);
      return fftConvCachedOp(list, { ...params, adjoint: transposed, inputs: names })[0]!;
    };
    const out: { [K in FftConvCachedInput]?: Tensor } = {};
    if (want.u || want.preGate) {
      const gate = want.preGate ? undefined : preGate;
      const dz = convolve({ u: dy, spectrum, preGate: postGate, postGate: gate }, !adjoint);
      if (want.preGate) out.preGate = mul(dz, u!);
      if (want.u) out.u = want.preGate && preGate ? mul(dz, preGate) : dz;
    }
    if (want.spectrum) {
      // The adjoint reads z[t + j - origin]: the roles of z and dc swap.
      const { names, tensors } = present(
        adjoint ? { u: dy, dy: u, preGate: postGate, postGate: preGate } : { u, dy, preGate, postGate },
      );
      const shared: FftConvGradParams = { layout, circular, origin, taps, inputs: names };
      const dk = fftConvFilterGradOp(tensors, shared)[0]!;
      out.spectrum = plainSpectrum(layout === "bdl" ? dk : transpose(dk), spectrum!.shape[0]!);
    }
    if (want.postGate) {
      out.postGate = mul(dy, convolve({ u, spectrum, preGate, postGate: undefined }, adjoint));
    }
    return inOrder(params.inputs, out);
  },
  // Spectra of several examples could not be joined anyway: their contents are the device's.
  batch: (context) =>
    foldIntoBatch(
      context,
      context.params.inputs.map((name) => name === "spectrum"),
    ),
  cost: (inputs, outputs, params) =>
    convolutionCost(named(params.inputs, inputs).u!, params.layout, 2, [...inputs, ...outputs]),
});
