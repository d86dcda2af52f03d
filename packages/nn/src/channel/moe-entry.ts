// The mixture of experts as the registry offers it; defaults are mad-lab's.

import { defineChannelMixer, type LayerEntry } from "../registry-entry.ts";
import type { ChannelMixer } from "../mixer.ts";
import { MOE_COMPAT, MoeMlp } from "./moe-mlp.ts";

export const moeMlpEntry: LayerEntry<ChannelMixer> = defineChannelMixer({
  name: "moe-mlp",
  shorthand: "MoE",
  summary: "Mixture of experts, each a gated linear unit.",
  source: "Shazeer et al. 2017, arXiv 1701.06538",
  options: {
    inner: { default: 16, doc: "inner width of an expert" },
    experts: { default: 8, doc: "number of experts" },
    active: { default: 2, doc: "experts that count at a position" },
    activation: { default: "gelu-tanh", doc: "of the gates" },
    bias: { default: false, doc: "biases of the experts' maps" },
    dropout: { default: 0, doc: "dropout rate of values, gates and results" },
    compat: { default: false, doc: "weights for unselected experts and a shared last map, as in mad-lab" },
  },
  build: ({ key, dim }, { compat, ...rest }) =>
    new MoeMlp({ key, dim, ...rest, compat: compat ? MOE_COMPAT : [] }),
});
