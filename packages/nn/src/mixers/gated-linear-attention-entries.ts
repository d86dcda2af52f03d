// Gated linear attention as the registry offers it; defaults are mad-lab's.

import { defineMixer, type LayerEntry, type LayerShape, type OptionsOf } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { GATED_FORMS, GatedLinearAttention, type GatedForm } from "./gated-linear-attention.ts";

const options = (heads: number) =>
  ({
    heads: { default: heads, doc: "number of heads" },
    expandK: { default: 1, doc: "width of all keys over the model's" },
    expandV: { default: 1, doc: "width of all values over the model's" },
    gate: { default: "silu", doc: "activation of the output gate" },
    gateNormalizer: { default: 16, doc: "divides the logarithms of decays" },
    gateRank: { default: 16, doc: "rank of the map to the decays" },
    minLogDecay: { default: null, doc: "lower limit of the logarithms of decays" },
    eps: { default: 1e-5, doc: "of the norm of a head's output" },
    form: { default: "auto", doc: "how it is computed", choices: GATED_FORMS },
  }) as const;

const build = (shape: LayerShape, o: OptionsOf<ReturnType<typeof options>>): Mixer => {
  const { minLogDecay, form, ...rest } = o;
  return new GatedLinearAttention({
    key: shape.key,
    dim: shape.dim,
    ...rest,
    form: form as GatedForm,
    ...(minLogDecay === null ? {} : { minLogDecay: Number(minLogDecay) }),
  });
};

const SOURCE = "Yang et al. 2024, arXiv 2312.06635";

export const gatedLinearAttentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "gated-linear-attention",
  shorthand: "Alg",
  summary: "Linear attention whose state decays at input-dependent rates; one head.",
  source: SOURCE,
  options: options(1),
  build,
});

export const multiHeadGatedLinearAttentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "mh-gated-linear-attention",
  shorthand: "mAlg",
  summary: "Linear attention whose state decays at input-dependent rates; several heads.",
  source: SOURCE,
  options: options(8),
  build,
});
