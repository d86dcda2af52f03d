// The operators of StripedHyena 2 as the registry offers them; widths and modes are Evo 2's.

import { DECAY_PRESETS, type DecayPreset } from "../filters/striped-filter.ts";
import type { Mixer } from "../mixer.ts";
import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import { StripedHyena } from "./striped-hyena.ts";

const SOURCE = "Ku et al. 2025, arXiv 2503.01868";

const shared = {
  groups: { default: 0, doc: "filters, each shared by neighbouring channels; 0: one per channel" },
  shortFilterOrder: { default: 3, doc: "taps of the convolution after the input projection" },
} as const;

const groupsOf = ({ groups }: { readonly groups: number }): { groups?: number } =>
  groups > 0 ? { groups } : {};

export const hyenaShortEntry: LayerEntry<Mixer> = defineMixer({
  name: "hyena-se",
  shorthand: "Hs",
  summary: "Gated convolution of a few free taps: StripedHyena 2's short explicit operator.",
  source: SOURCE,
  options: { ...shared, width: { default: 7, doc: "taps" } },
  build: ({ key, dim }, o) =>
    new StripedHyena({
      key,
      dim,
      stripe: "short",
      ...groupsOf(o),
      shortFilterOrder: o.shortFilterOrder,
      width: o.width,
    }),
});

export const hyenaMediumEntry: LayerEntry<Mixer> = defineMixer({
  name: "hyena-mr",
  shorthand: "Hm",
  summary: "Gated convolution of a hundred decaying taps: StripedHyena 2's medium regularised operator.",
  source: SOURCE,
  options: {
    ...shared,
    width: { default: 128, doc: "taps" },
    decay: { default: "strong", doc: "how fast the slowest filter decays", choices: DECAY_PRESETS },
    scale: { default: 1e-5, doc: "size of the first taps" },
  },
  build: ({ key, dim }, o) =>
    new StripedHyena({
      key,
      dim,
      stripe: "medium",
      ...groupsOf(o),
      shortFilterOrder: o.shortFilterOrder,
      width: o.width,
      decay: o.decay as DecayPreset,
      scale: o.scale,
    }),
});

export const hyenaLongEntry: LayerEntry<Mixer> = defineMixer({
  name: "hyena-li",
  shorthand: "Hl",
  summary:
    "Gated convolution with sums of exponentials: StripedHyena 2's long implicit operator, also a recurrence.",
  source: SOURCE,
  options: { ...shared, modes: { default: 16, doc: "exponentials of a filter" } },
  build: ({ key, dim }, o) =>
    new StripedHyena({
      key,
      dim,
      stripe: "long",
      ...groupsOf(o),
      shortFilterOrder: o.shortFilterOrder,
      modes: o.modes,
    }),
});
