// Mamba as the registry offers it; defaults are mad-lab's.

import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { Mamba } from "./mamba.ts";

export const mambaEntry: LayerEntry<Mixer> = defineMixer({
  name: "mamba",
  shorthand: "Mb",
  summary: "Selective state space: a diagonal recurrence with input-dependent steps.",
  source: "Gu & Dao 2023, arXiv 2312.00752",
  options: {
    stateSize: { default: 4, doc: "states per channel" },
    convWidth: { default: 4, doc: "taps of the short convolution" },
    expand: { default: 2, doc: "inner width over the model's" },
    stepRank: { default: 0, doc: "rank of the map to the steps; 0: a sixteenth of the width" },
    minStep: { default: 0.001, doc: "least initial step" },
    maxStep: { default: 0.1, doc: "greatest initial step" },
    stepFloor: { default: 1e-4, doc: "limit of initial steps from below" },
    stepScale: { default: 1, doc: "scale of the initial map to the steps" },
    stepInit: { default: "random", doc: "start of that map", choices: ["random", "constant"] },
    convBias: { default: true, doc: "bias of the convolution" },
    bias: { default: false, doc: "biases of the outer projections" },
  },
  build: (shape, { stepInit, ...rest }) =>
    new Mamba({
      key: shape.key,
      dim: shape.dim,
      ...rest,
      stepInit: stepInit === "constant" ? "constant" : "random",
    }),
});
