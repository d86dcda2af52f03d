// RWKV's time mixers as the registry offers them; defaults are mad-lab's.

import { defineMixer, type LayerEntry, type LayerShape, type OptionsOf } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { GATED_FORMS, type GatedForm } from "./gated-linear-attention.ts";
import type { RwkvTimeMixerOptions } from "./rwkv-time-mixer.ts";
import { Rwkv5TimeMixer } from "./rwkv5.ts";
import { Rwkv6TimeMixer } from "./rwkv6.ts";

const options = {
  width: { default: 0, doc: "width of all heads; 0: the model's" },
  headSize: { default: 16, doc: "width of a head" },
  divisor: { default: 8, doc: "outputs are scaled by 1/divisor before the norm of a head" },
  layer: { default: 0, doc: "number of this layer, from 0: initial values depend on the depth" },
  layers: { default: 1, doc: "number of layers" },
  form: { default: "auto", doc: "how it is computed", choices: GATED_FORMS },
} as const;

const timeMixerOptions = (
  { key, dim }: LayerShape,
  { width, form, ...rest }: OptionsOf<typeof options>,
): RwkvTimeMixerOptions => ({
  key,
  dim,
  ...rest,
  form: form as GatedForm,
  ...(width > 0 ? { width } : {}),
});

const SOURCE = "Peng et al. 2024, arXiv 2404.05892";

export const rwkv5TimeMixerEntry: LayerEntry<Mixer> = defineMixer({
  name: "rwkv5-time-mixer",
  shorthand: "R5t",
  summary: "Matrix memory with a learned decay per channel and a bonus for the present.",
  source: SOURCE,
  options,
  build: (shape, o) => new Rwkv5TimeMixer(timeMixerOptions(shape, o)),
});

export const rwkv6TimeMixerEntry: LayerEntry<Mixer> = defineMixer({
  name: "rwkv6-time-mixer",
  shorthand: "R6t",
  summary: "RWKV's matrix memory with input-dependent interpolation and decay.",
  source: SOURCE,
  options,
  build: (shape, o) => new Rwkv6TimeMixer(timeMixerOptions(shape, o)),
});
