// State-space mixers as the registry offers them.

import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { DplrSsm } from "../ssm/dplr-ssm.ts";
import { ssmOptionSpecs, ssmSettingsOf } from "../ssm/ssm-options.ts";
import { SSM_STARTS } from "../ssm/start.ts";
import { H3 } from "./h3.ts";
import { S4 } from "./s4.ts";

const layerOptions = {
  channels: { default: 1, doc: "outputs of each channel's state space" },
  activation: { default: "gelu", doc: "after the state space" },
  outputActivation: { default: "glu", doc: "after the output map" },
  dropout: { default: 0, doc: "dropout rate around the activation" },
} as const;

export const s4dEntry: LayerEntry<Mixer> = defineMixer({
  name: "s4d",
  shorthand: "S4D",
  summary: "Diagonal state space, as a long convolution or step by step.",
  source: "Gu et al. 2022, arXiv 2206.11893",
  options: { ...ssmOptionSpecs(64, "diag-lin", "zoh"), ...layerOptions },
  build: (shape, o) =>
    new S4({
      key: shape.key,
      dim: shape.dim,
      channels: o.channels,
      activation: o.activation,
      outputActivation: o.outputActivation,
      dropout: o.dropout,
      ssm: ssmSettingsOf(o),
    }),
});

export const s4Entry: LayerEntry<Mixer> = defineMixer({
  name: "s4",
  shorthand: "S4",
  summary:
    "State space with a diagonal plus low-rank matrix from HiPPO, as a long convolution or step by step.",
  source: "Gu et al. 2022, arXiv 2111.00396",
  options: {
    stateSize: { default: 16, doc: "state size of each channel; kernels cost its cube" },
    start: {
      default: "legs",
      doc: "where the matrices start",
      choices: ["legs", "legt", "fourier", "hippo"],
    },
    rank: { default: 1, doc: "rank of the low-rank part; legt needs 2" },
    minStep: { default: 1e-3, doc: "smallest first step size" },
    maxStep: { default: 0.1, doc: "largest first step size" },
    ssmLearningRate: { default: 1e-3, doc: "learning-rate hint of matrices, steps and input vectors" },
    ...layerOptions,
  },
  build: (shape, o) =>
    new S4(
      {
        key: shape.key,
        dim: shape.dim,
        channels: o.channels,
        activation: o.activation,
        outputActivation: o.outputActivation,
        dropout: o.dropout,
      },
      (made) =>
        new DplrSsm({
          ...made,
          stateSize: o.stateSize,
          start: SSM_STARTS.find((s) => s === o.start) ?? "legs",
          rank: o.rank,
          minStep: o.minStep,
          maxStep: o.maxStep,
          learningRate: o.ssmLearningRate,
        }),
    ),
});

export const h3Entry: LayerEntry<Mixer> = defineMixer({
  name: "h3",
  shorthand: "H3",
  summary: "A shift and a diagonal state space with products in between.",
  source: "Dao et al. 2022, arXiv 2212.14052",
  options: {
    headDim: { default: 1, doc: "channels of a head" },
    ...ssmOptionSpecs(64, "diag-lin", "bilinear"),
  },
  build: (shape, o) => {
    const { stateSize, ...ssm } = ssmSettingsOf(o);
    return new H3({
      key: shape.key,
      dim: shape.dim,
      headDim: o.headDim,
      stateSize: stateSize ?? 64,
      ssm,
    });
  },
});
