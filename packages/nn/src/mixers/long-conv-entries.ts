// Mixers with free long filters as the registry offers them.

import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import { LONG_KERNEL_STARTS, SMOOTHINGS, type LongKernelSettings } from "../filters/long-kernel.ts";
import type { Mixer } from "../mixer.ts";
import { H3Conv } from "./h3-conv.ts";
import { LONG_CONV_SIDES, LongConv } from "./long-conv.ts";

const filterOptions = {
  start: { default: "double-exponential", doc: "first taps of the filters", choices: LONG_KERNEL_STARTS },
  squash: { default: 1e-3, doc: "threshold under which taps are 0" },
  smoothing: { default: "none", doc: "average over taps or over frequencies", choices: SMOOTHINGS },
  window: { default: 7, doc: "width of the average" },
  kernelDropout: { default: 0, doc: "rate at which taps are dropped" },
  kernelLearningRate: { default: 1e-3, doc: "learning-rate hint of the taps" },
} as const;

const BLOCK_FFT = ["none", "fixed", "learned"] as const;
const transformOptions = {
  blockFft: {
    default: "none",
    doc: "convolve through a block FFT; learned matrices make the layer two-sided",
    choices: BLOCK_FFT,
  },
} as const;
const transformSettings = (o: { readonly blockFft: string }): { blockFft?: { learned: boolean } } =>
  o.blockFft === "none" ? {} : { blockFft: { learned: o.blockFft === "learned" } };

const filterSettings = (o: {
  readonly start: string;
  readonly squash: number;
  readonly smoothing: string;
  readonly window: number;
  readonly kernelDropout: number;
  readonly kernelLearningRate: number;
}): LongKernelSettings => ({
  start: o.start === "random" ? "random" : "double-exponential",
  squash: o.squash,
  smoothing: SMOOTHINGS.find((s) => s === o.smoothing) ?? "none",
  window: o.window,
  dropout: o.kernelDropout,
  learningRate: o.kernelLearningRate,
});

export const longConvEntry: LayerEntry<Mixer> = defineMixer({
  name: "long-conv",
  shorthand: "LC",
  summary: "Long convolution whose every tap is a parameter, squashed.",
  source: "Fu et al. 2023, arXiv 2302.06646",
  options: {
    channels: { default: 1, doc: "filters for each input channel" },
    sides: { default: "causal", doc: "which lags the filters have", choices: LONG_CONV_SIDES },
    activation: { default: "gelu", doc: "after the convolution" },
    outputActivation: { default: "glu", doc: "after the output map" },
    dropout: { default: 0, doc: "dropout rate before the output map" },
    ...filterOptions,
    ...transformOptions,
  },
  build: (shape, o) =>
    new LongConv({
      key: shape.key,
      dim: shape.dim,
      maxLength: shape.maxLength,
      channels: o.channels,
      sides: LONG_CONV_SIDES.find((s) => s === o.sides) ?? "causal",
      activation: o.activation,
      outputActivation: o.outputActivation,
      dropout: o.dropout,
      filter: filterSettings(o),
      ...transformSettings(o),
    }),
});

export const h3ConvEntry: LayerEntry<Mixer> = defineMixer({
  name: "h3-conv",
  shorthand: "H3C",
  summary: "H3 with free long filters in the place of its state spaces.",
  source: "Fu et al. 2023, arXiv 2302.06646",
  options: {
    headDim: { default: 1, doc: "channels of a head" },
    ...filterOptions,
    ...transformOptions,
  },
  build: (shape, o) =>
    new H3Conv({
      key: shape.key,
      dim: shape.dim,
      maxLength: shape.maxLength,
      headDim: o.headDim,
      filter: filterSettings(o),
      ...transformSettings(o),
    }),
});
