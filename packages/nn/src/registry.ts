// All layers that models are composed of, by name. Adding one: a file with an entry, and a line here.

import { ConfigError, nearest } from "@everlong/core";
import { gluEntry, mlpEntry, swigluEntry } from "./channel/entries.ts";
import { moeMlpEntry } from "./channel/moe-entry.ts";
import { monarchMlpEntry } from "./channel/monarch-entry.ts";
import { rwkv5ChannelMixerEntry, rwkv6ChannelMixerEntry } from "./channel/rwkv-entries.ts";
import {
  attentionEntry,
  blockSparseAttentionEntry,
  multiHeadAttentionEntry,
  multiHeadSlidingAttentionEntry,
  slidingAttentionEntry,
} from "./mixers/attention-entries.ts";
import {
  gatedLinearAttentionEntry,
  multiHeadGatedLinearAttentionEntry,
} from "./mixers/gated-linear-attention-entries.ts";
import { hyenaExpertsEntry, multiHeadHyenaEntry } from "./mixers/hyena-family-entries.ts";
import { hyenaEntry } from "./mixers/hyena-entry.ts";
import { linearAttentionEntry, multiHeadLinearAttentionEntry } from "./mixers/linear-attention-entries.ts";
import { h3ConvEntry, longConvEntry } from "./mixers/long-conv-entries.ts";
import { mambaEntry } from "./mixers/mamba-entry.ts";
import { monarchMixerEntry } from "./mixers/monarch-entry.ts";
import {
  deltaNetEntry,
  gatedDeltaNetEntry,
  mamba2Entry,
  retentionEntry,
} from "./mixers/recurrent-entries.ts";
import { rtfHyenaEntry } from "./mixers/rtf-hyena-entry.ts";
import { rwkv5TimeMixerEntry, rwkv6TimeMixerEntry } from "./mixers/rwkv-entries.ts";
import { h3Entry, s4Entry, s4dEntry } from "./mixers/s4-entries.ts";
import { shortConvEntry } from "./mixers/short-conv-entry.ts";
import { hyenaLongEntry, hyenaMediumEntry, hyenaShortEntry } from "./mixers/striped-hyena-entries.ts";
import type { ChannelMixer, Mixer } from "./mixer.ts";
import type { LayerEntry } from "./registry-entry.ts";

/** Sequence mixers. */
export const mixers: readonly LayerEntry<Mixer>[] = [
  attentionEntry,
  multiHeadAttentionEntry,
  slidingAttentionEntry,
  multiHeadSlidingAttentionEntry,
  blockSparseAttentionEntry,
  hyenaEntry,
  multiHeadHyenaEntry,
  hyenaExpertsEntry,
  rtfHyenaEntry,
  hyenaShortEntry,
  hyenaMediumEntry,
  hyenaLongEntry,
  monarchMixerEntry,
  linearAttentionEntry,
  multiHeadLinearAttentionEntry,
  gatedLinearAttentionEntry,
  multiHeadGatedLinearAttentionEntry,
  mambaEntry,
  rwkv5TimeMixerEntry,
  rwkv6TimeMixerEntry,
  retentionEntry,
  deltaNetEntry,
  gatedDeltaNetEntry,
  mamba2Entry,
  longConvEntry,
  h3ConvEntry,
  s4dEntry,
  s4Entry,
  h3Entry,
  shortConvEntry,
];

/** Channel mixers. */
export const channelMixers: readonly LayerEntry<ChannelMixer>[] = [
  mlpEntry,
  swigluEntry,
  gluEntry,
  moeMlpEntry,
  monarchMlpEntry,
  rwkv5ChannelMixerEntry,
  rwkv6ChannelMixerEntry,
];

/** An entry by name or shorthand, out of the built-in ones and `more`. */
export function findLayer(name: string, more: readonly LayerEntry[] = []): LayerEntry {
  const all: readonly LayerEntry[] = [...more, ...mixers, ...channelMixers];
  const found = all.find((e) => e.name === name || e.shorthand === name);
  if (found) return found;
  const names = all.map((e) => e.name);
  const near = nearest(name, names);
  throw new ConfigError("layer", `unknown layer "${name}"`, {
    expected: names.join(", "),
    ...(near ? { hint: `Did you mean "${near}"?` } : {}),
  });
}
