// RWKV's channel mixers as the registry offers them; defaults are mad-lab's.

import { defineChannelMixer, type LayerEntry } from "../registry-entry.ts";
import type { ChannelMixer } from "../mixer.ts";
import { Rwkv5ChannelMixer, Rwkv6ChannelMixer } from "./rwkv-channel-mixer.ts";

const options = {
  inner: { default: 0, doc: "inner width; 0: 4 dim" },
  layer: { default: 0, doc: "number of this layer, from 0: initial values depend on the depth" },
  layers: { default: 1, doc: "number of layers" },
} as const;

const SOURCE = "Peng et al. 2024, arXiv 2404.05892";

export const rwkv5ChannelMixerEntry: LayerEntry<ChannelMixer> = defineChannelMixer({
  name: "rwkv5-channel-mixer",
  shorthand: "R5c",
  summary: "Gated squared-relu perceptron that also sees the position before.",
  source: SOURCE,
  options,
  build: ({ key, dim }, { inner, ...rest }) =>
    new Rwkv5ChannelMixer({ key, dim, ...rest, ...(inner > 0 ? { inner } : {}) }),
});

export const rwkv6ChannelMixerEntry: LayerEntry<ChannelMixer> = defineChannelMixer({
  name: "rwkv6-channel-mixer",
  shorthand: "R6c",
  summary: "As RWKV 5's, with interpolation weights counted from the present.",
  source: SOURCE,
  options,
  build: ({ key, dim }, { inner, ...rest }) =>
    new Rwkv6ChannelMixer({ key, dim, ...rest, ...(inner > 0 ? { inner } : {}) }),
});
