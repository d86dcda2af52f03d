// Retention, the delta rule and Mamba 2 as the registry offers them. Default sizes give a model of width 128 a state of 4096
// numbers a layer, at which mad-lab compares architectures.

import { defineMixer, type LayerEntry, type LayerShape, type OptionsOf } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import { DeltaNet } from "./delta-net.ts";
import { Mamba2 } from "./mamba2.ts";
import { Retention } from "./retention.ts";
import { RECURRENCE_FORMS, type RecurrenceForm } from "./scalar-decay.ts";

const widths = {
  heads: { default: 4, doc: "number of heads" },
  expandK: { default: 1, doc: "width of all keys over the model's" },
  expandV: { default: 1, doc: "width of all values over the model's" },
  eps: { default: 1e-5, doc: "of the norm of a head's output" },
  form: { default: "chunked", doc: "how it is computed", choices: RECURRENCE_FORMS },
} as const;

export const retentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "retention",
  shorthand: "Rt",
  summary: "Linear attention that forgets at a fixed rate per head, with rotary positions.",
  source: "Sun et al. 2023, arXiv 2307.08621",
  options: {
    ...widths,
    gate: { default: "silu", doc: "activation of the output gate" },
    rotary: { default: true, doc: "queries and keys turn with position" },
  },
  build: ({ key, dim }, { form, ...rest }) =>
    new Retention({ key, dim, ...rest, form: form as RecurrenceForm }),
});

const deltaOptions = {
  ...widths,
  convWidth: { default: 4, doc: "taps of the convolutions of queries, keys and values" },
  negativeEigenvalues: { default: false, doc: "write strengths up to 2 instead of 1" },
} as const;

const deltaNet =
  (gated: boolean) =>
  ({ key, dim }: LayerShape, { form, ...rest }: OptionsOf<typeof deltaOptions>): Mixer =>
    new DeltaNet({ key, dim, ...rest, form: form as RecurrenceForm, decay: gated, gate: gated });

export const deltaNetEntry: LayerEntry<Mixer> = defineMixer({
  name: "delta-net",
  shorthand: "Dn",
  summary: "Matrix memory in which a write replaces what its key held.",
  source: "Yang et al. 2024, arXiv 2406.06484",
  options: deltaOptions,
  build: deltaNet(false),
});

export const gatedDeltaNetEntry: LayerEntry<Mixer> = defineMixer({
  name: "gated-delta-net",
  shorthand: "Dng",
  summary: "The delta rule with an input-dependent decay and an output gate.",
  source: "Yang et al. 2025, arXiv 2412.06464",
  options: deltaOptions,
  build: deltaNet(true),
});

export const mamba2Entry: LayerEntry<Mixer> = defineMixer({
  name: "mamba2",
  shorthand: "Mb2",
  summary: "Selective state space with one decay per head, computed as masked attention over chunks.",
  source: "Dao & Gu 2024, arXiv 2405.21060",
  options: {
    stateSize: { default: 16, doc: "states per channel" },
    headSize: { default: 16, doc: "channels of a head" },
    groups: { default: 1, doc: "groups of heads that share input and output vectors" },
    expand: { default: 2, doc: "inner width over the model's" },
    convWidth: { default: 4, doc: "taps of the short convolution" },
    minStep: { default: 0.001, doc: "least initial step" },
    maxStep: { default: 0.1, doc: "greatest initial step" },
    eps: { default: 1e-5, doc: "of the norm of a group's output" },
    form: { default: "chunked", doc: "how it is computed", choices: RECURRENCE_FORMS },
  },
  build: ({ key, dim }, { form, ...rest }) => new Mamba2({ key, dim, ...rest, form: form as RecurrenceForm }),
});
