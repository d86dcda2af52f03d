// Hyena with rational filters as the registry offers it.

import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { RTF_STARTS, type RtfStart } from "./rtf-filter.ts";
import { RtfHyena } from "./rtf-hyena.ts";

export const rtfHyenaEntry: LayerEntry<Mixer> = defineMixer({
  name: "hyena-rtf",
  shorthand: "Hr",
  summary: "Gated long convolution whose filter is a rational transfer function, with exact steps.",
  source: "Parnichkun et al. 2024, arXiv 2405.06147",
  options: {
    innerFactor: { default: 4, doc: "inner width over the model's" },
    projectionGroups: { default: 4, doc: "the input projection makes 1/groups of its channels, repeated" },
    shortFilterOrder: { default: 3, doc: "taps of the short convolution" },
    stateSize: { default: 4, doc: "states per channel: the degree of the polynomials" },
    denominators: { default: 0, doc: "denominators, shared by neighbouring channels; 0: one per channel" },
    start: { default: "montel", doc: "initial coefficients", choices: RTF_STARTS },
  },
  build: ({ key, dim, maxLength }, { denominators, start, ...rest }) =>
    new RtfHyena({
      key,
      dim,
      maxLength,
      ...rest,
      start: start as RtfStart,
      ...(denominators > 0 ? { denominators } : {}),
    }),
});
