// The short-convolution baseline as the registry offers it.

import { defineMixer, type LayerEntry } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { ShortConvMixer } from "./short-conv-mixer.ts";

export const shortConvEntry: LayerEntry<Mixer> = defineMixer({
  name: "short-conv",
  shorthand: "C",
  summary: "Gated convolution of a few taps: a baseline without memory.",
  source: "Dauphin et al. 2016, arXiv 1612.08083",
  options: { width: { default: 4, doc: "taps of the convolution" } },
  build: (shape, o) => new ShortConvMixer({ key: shape.key, dim: shape.dim, width: o.width }),
});
