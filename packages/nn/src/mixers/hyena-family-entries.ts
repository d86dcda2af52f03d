// Hyena with heads and with experts as the registry offers them; defaults are mad-lab's.

import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { HYENA_EXPERTS_COMPAT, HyenaExperts } from "./hyena-experts.ts";
import type { HyenaFilterSettings } from "./hyena-filter.ts";
import { MULTI_HEAD_HYENA_COMPAT, MultiHeadHyena } from "./multi-head-hyena.ts";

const filterOptions = (width: number) =>
  ({
    embeddingDim: { default: 3, doc: "position features of the filter; odd" },
    filterWidth: { default: width, doc: "width of the filter's network" },
    filterLayers: { default: 2, doc: "inner layers of the filter's network" },
    frequency: { default: 1, doc: "initial frequency of the filter's sines" },
    fastDecay: { default: 0.3, doc: "fraction of the length at which the fastest window reaches the target" },
    slowDecay: { default: 1.5, doc: "the same for the slowest window" },
    filterBias: { default: true, doc: "a skip weight per filter" },
    filterLearningRate: { default: 1e-3, doc: "learning-rate hint of the filter's network" },
  }) as const;

type FilterValues = {
  readonly [K in keyof ReturnType<typeof filterOptions>]: K extends "filterBias" ? boolean : number;
};

const settings = (o: FilterValues): HyenaFilterSettings => ({
  embeddingDim: o.embeddingDim,
  width: o.filterWidth,
  innerLayers: o.filterLayers,
  frequency: o.frequency,
  fastDecay: o.fastDecay,
  slowDecay: o.slowDecay,
  bias: o.filterBias,
  learningRate: o.filterLearningRate,
});

export const multiHeadHyenaEntry: LayerEntry<Mixer> = defineMixer({
  name: "mh-hyena",
  shorthand: "mH",
  summary: "Long convolution of outer products, one filter per head.",
  source: "Massaroli et al. 2023, arXiv 2310.18780",
  options: {
    heads: { default: 16, doc: "number of heads" },
    innerFactor: { default: 1, doc: "inner width over the model's" },
    projectionGroups: { default: 4, doc: "the input projection makes 1/groups of its channels, repeated" },
    shortFilterOrder: { default: 3, doc: "taps of the short convolution" },
    ...filterOptions(2),
    compat: { default: false, doc: "the number of heads as the size of a head, as in mad-lab" },
  },
  build: ({ key, dim, maxLength }, o) =>
    new MultiHeadHyena({
      key,
      dim,
      maxLength,
      heads: o.heads,
      innerFactor: o.innerFactor,
      projectionGroups: o.projectionGroups,
      shortFilterOrder: o.shortFilterOrder,
      filter: settings(o),
      compat: o.compat ? MULTI_HEAD_HYENA_COMPAT : [],
    }),
});

export const hyenaExpertsEntry: LayerEntry<Mixer> = defineMixer({
  name: "hyena-experts",
  shorthand: "He",
  summary: "Hyena whose channels belong to experts that a router picks.",
  source: "Poli et al. 2024, arXiv 2403.17844",
  options: {
    order: { default: 2, doc: "depth of the recurrence: order - 1 long convolutions" },
    experts: { default: 8, doc: "number of experts" },
    active: { default: 2, doc: "experts that count at a position" },
    inner: { default: 0, doc: "channels of an expert; 0: the width over the number of experts" },
    shortFilterOrder: { default: 3, doc: "taps of the short convolution" },
    activation: { default: "identity", doc: "before the experts are summed" },
    dropout: { default: 0, doc: "dropout rate of gated values" },
    ...filterOptions(16),
    compat: { default: false, doc: "unselected experts keep weight, as in mad-lab" },
  },
  build: ({ key, dim, maxLength }, o) =>
    new HyenaExperts({
      key,
      dim,
      maxLength,
      order: o.order,
      experts: o.experts,
      active: o.active,
      ...(o.inner > 0 ? { inner: o.inner } : {}),
      shortFilterOrder: o.shortFilterOrder,
      activation: o.activation,
      dropout: o.dropout,
      filter: settings(o),
      compat: o.compat ? HYENA_EXPERTS_COMPAT : [],
    }),
});
