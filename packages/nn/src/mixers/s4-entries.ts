// State-space mixers as the registry offers them.

import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { ssmOptionSpecs, ssmSettingsOf } from "../ssm/ssm-options.ts";
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
