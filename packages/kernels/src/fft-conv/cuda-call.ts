// A call of the long convolution as its CUDA kernels see it, of whichever op it is.

import type { CudaView, CudaWord } from "../cuda-step.ts";
import type { Slice } from "./cuda-slices.ts";
import type { Layout } from "./sequences.ts";

/** A view of an input, and which one. */
export interface InputView {
  readonly view: CudaView;
  readonly index: number;
}

/** Looks inputs up by name. */
export const inputViews =
  <N extends string>(names: readonly N[], views: readonly CudaView[]) =>
  (name: N): InputView | undefined => {
    const index = names.indexOf(name);
    return index < 0 ? undefined : { view: views[index]!, index };
  };

/** A filter `[D, J]` (or `[J, D]`) and its skip weights. */
export interface FilterViews {
  readonly k: InputView;
  readonly skip: InputView | undefined;
  readonly layout: Layout;
  /** Which tap acts at lag 0. */
  readonly origin: number;
}

/** A filter's words and strides, for launches. */
export interface FilterWords {
  readonly k: CudaWord;
  readonly channel: number;
  readonly tap: number;
  readonly taps: number;
  readonly origin: number;
  /** Address, stride, whether there is one. */
  readonly skip: readonly [CudaWord, number, number];
}

export function filterWords({ k, skip, layout, origin }: FilterViews): FilterWords {
  const [channel, tap] = layout === "bdl" ? [0, 1] : [1, 0];
  return {
    k: { input: k.index },
    channel: k.view.strides[channel]!,
    tap: k.view.strides[tap]!,
    taps: k.view.shape[tap]!,
    origin,
    skip: skip ? [{ input: skip.index }, skip.view.strides[0]!, 1] : [0, 0, 0],
  };
}

/** What is to be convolved. */
export interface ConvolutionCall {
  readonly u: InputView;
  readonly preGate: InputView | undefined;
  readonly postGate: InputView | undefined;
  readonly y: CudaView;
  readonly layout: Layout;
  readonly circular: boolean;
  readonly adjoint: boolean;
  /** The filter, or the input that keeps the spectra of some more channels. */
  readonly filter: FilterViews | { readonly kept: number; readonly slice: Slice };
}

/** A filter to be kept for sequences of a length. */
export interface SpectrumCall {
  readonly filter: FilterViews;
  readonly circular: boolean;
  readonly length: number;
}

/** Some of the filters that are kept together. */
export interface KeptSpectrumCall extends SpectrumCall {
  readonly slice: Slice;
}

/** Batch, channels and length of `[B, D, L]` or `[B, L, D]`. */
export const sizesOf = (
  [b, p, q]: readonly number[],
  layout: Layout,
): readonly [batch: number, channels: number, length: number] =>
  layout === "bdl" ? [b!, p!, q!] : [b!, q!, p!];
