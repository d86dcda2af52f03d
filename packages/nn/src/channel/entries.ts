// Channel mixers as the registry offers them.

import { defineChannelMixer, type LayerEntry } from "../registry-entry.ts";
import type { ChannelMixer } from "../mixer.ts";
import { GatedLinearUnit } from "./gated-linear-unit.ts";
import { Mlp } from "./mlp.ts";

export const mlpEntry: LayerEntry<ChannelMixer> = defineChannelMixer({
  name: "mlp",
  shorthand: "M",
  summary: "Two-layer perceptron with a GELU.",
  source: "Hendrycks & Gimpel 2016, arXiv 1606.08415",
  options: {
    inner: { default: 0, doc: "inner width; 0: 4 dim" },
    activation: { default: "gelu-tanh", doc: "between the layers" },
    bias: { default: false, doc: "biases of both layers" },
    dropout: { default: 0, doc: "dropout rate after the activation and at the end" },
  },
  build: (shape, { inner, ...rest }) =>
    new Mlp({ key: shape.key, dim: shape.dim, ...rest, ...(inner > 0 ? { inner } : {}) }),
});

const gatedOptions = {
  inner: { default: 0, doc: "inner width; 0: 8/3 dim, rounded up to multipleOf" },
  multipleOf: { default: 16, doc: "rounding of the default inner width" },
  bias: { default: false, doc: "biases of the three maps" },
  dropout: { default: 0, doc: "dropout rate of gate, value and result" },
} as const;

export const swigluEntry: LayerEntry<ChannelMixer> = defineChannelMixer({
  name: "swiglu",
  shorthand: "Sg",
  summary: "Linear unit gated through a SiLU.",
  source: "Shazeer 2020, arXiv 2002.05202",
  options: gatedOptions,
  build: (shape, { inner, ...rest }) =>
    new GatedLinearUnit({
      key: shape.key,
      dim: shape.dim,
      activation: "silu",
      ...rest,
      ...(inner > 0 ? { inner } : {}),
    }),
});

export const gluEntry: LayerEntry<ChannelMixer> = defineChannelMixer({
  name: "glu",
  shorthand: "G",
  summary: "Linear unit gated through a sigmoid.",
  source: "Dauphin et al. 2016, arXiv 1612.08083",
  options: gatedOptions,
  build: (shape, { inner, ...rest }) =>
    new GatedLinearUnit({
      key: shape.key,
      dim: shape.dim,
      activation: "sigmoid",
      ...rest,
      ...(inner > 0 ? { inner } : {}),
    }),
});
