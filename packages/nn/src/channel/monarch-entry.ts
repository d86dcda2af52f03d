// Monarch Mixer's channel mixer as the registry offers it.

import type { ChannelMixer } from "../mixer.ts";
import { defineChannelMixer, type LayerEntry } from "../registry-entry.ts";
import { MonarchMlp } from "./monarch-mlp.ts";

export const monarchMlpEntry: LayerEntry<ChannelMixer> = defineChannelMixer({
  name: "monarch-mlp",
  shorthand: "Mm",
  summary: "Gated linear unit whose maps are block diagonal.",
  source: "Fu et al. 2023, arXiv 2310.12109",
  options: {
    inner: { default: 0, doc: "inner width; 0: four times the model's" },
    blocks: { default: 4, doc: "blocks of the maps" },
    gated: { default: true, doc: "half of the inner map's outputs gates the other half" },
    activation: { default: "gelu", doc: "of the gate" },
    dropout: { default: 0, doc: "dropout rate of inner values" },
  },
  build: ({ key, dim }, { inner, ...rest }) =>
    new MonarchMlp({ key, dim, ...rest, ...(inner > 0 ? { inner } : {}) }),
});
