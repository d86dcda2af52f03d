// Monarch Mixer's sequence mixer as the registry offers it; defaults are those of the 80M model of M2-BERT.

import type { Mixer } from "../mixer.ts";
import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import { MonarchMixer } from "./monarch-mixer.ts";

export const monarchMixerEntry: LayerEntry<Mixer> = defineMixer({
  name: "monarch-mixer",
  shorthand: "MM",
  summary: "Gated two-sided long convolution with a second one of the input beside it, for encoders.",
  source: "Fu et al. 2023, arXiv 2310.12109",
  options: {
    bidirectional: { default: true, doc: "filters for the future too" },
    residualConv: { default: true, doc: "a second long convolution of the input itself" },
    inputNorm: { default: false, doc: "a layer norm of the input" },
    embeddingDim: { default: 5, doc: "position features of the filters; odd" },
    filterWidth: { default: 128, doc: "width of the filters' networks" },
    filterLayers: { default: 2, doc: "inner layers of the filters' networks" },
    frequency: { default: 10, doc: "initial frequency of the filters' sines" },
    filterLearningRate: { default: 1e-3, doc: "learning-rate hint of the filters' networks" },
    positionLearningRate: { default: 1e-5, doc: "learning-rate hint of the position features; 0: fixed" },
    filterWeightDecay: { default: 0.1, doc: "weight-decay hint of the filters' networks" },
  },
  build: ({ key, dim, maxLength }, o) =>
    new MonarchMixer({
      key,
      dim,
      maxLength,
      bidirectional: o.bidirectional,
      residualConv: o.residualConv,
      inputNorm: o.inputNorm,
      filter: {
        embeddingDim: o.embeddingDim,
        width: o.filterWidth,
        innerLayers: o.filterLayers,
        frequency: o.frequency,
        learningRate: o.filterLearningRate,
        positionLearningRate: o.positionLearningRate,
        weightDecay: o.filterWeightDecay,
      },
    }),
});
