// Linear attention as the registry offers it; defaults are mad-lab's.

import { defineMixer, type LayerEntry, type LayerShape, type OptionsOf } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { FEATURE_MAPS } from "./feature-map.ts";
import { LINEAR_FORMS, LinearAttention, type LinearForm } from "./linear-attention.ts";

const options = (heads: number) =>
  ({
    heads: { default: heads, doc: "number of heads" },
    featureMap: {
      default: "elementwise_product",
      doc: "map of queries and keys",
      choices: FEATURE_MAPS,
    },
    expandK: { default: 1, doc: "width of all keys over the model's" },
    expandV: { default: 1, doc: "width of all values over the model's" },
    tieFeatureMaps: { default: false, doc: "queries and keys share a feature map" },
    normQ: { default: false, doc: "features of queries are divided by their sum" },
    normK: { default: false, doc: "features of keys are divided by their sum" },
    form: { default: "auto", doc: "how it is computed", choices: LINEAR_FORMS },
    compat: { default: false, doc: "divide by signed sums and take DPFP as mad-lab does" },
  }) as const;

const build = (shape: LayerShape, { compat, form, ...rest }: OptionsOf<ReturnType<typeof options>>): Mixer =>
  new LinearAttention({
    key: shape.key,
    dim: shape.dim,
    ...rest,
    form: form as LinearForm,
    compat: compat ? ["signed-normalizer", "negated-dpfp"] : [],
  });

const SOURCE = "Katharopoulos et al. 2020, arXiv 2006.16236";

export const linearAttentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "linear-attention",
  shorthand: "Al",
  summary: "Attention through a feature map, with a state of fixed size; one head.",
  source: SOURCE,
  options: options(1),
  build,
});

export const multiHeadLinearAttentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "mh-linear-attention",
  shorthand: "mAl",
  summary: "Attention through a feature map, with a state of fixed size; several heads.",
  source: SOURCE,
  options: options(16),
  build,
});
