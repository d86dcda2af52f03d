// Attention as the registry offers it: one head or many, with or without a window.

import { defineMixer, type LayerEntry, type LayerShape, type OptionsOf } from "../registry-entry.ts";
import type { Mixer } from "../mixer.ts";
import {
  MultiHeadAttention,
  butterflyBlocks,
  localBlocks,
  stridedBlocks,
  unionOfBlocks,
  type AttentionBlockOptions,
} from "./attention.ts";

const options = (heads: number, rotaryDim: number, window: readonly number[]) =>
  ({
    heads: { default: heads, doc: "number of heads" },
    headsKv: { default: 0, doc: "heads of keys and values, dividing heads; 0: as many as heads" },
    rotaryDim: { default: rotaryDim, doc: "leading features of a head turned by position; -1: all of them" },
    rotaryBase: { default: 10_000, doc: "base of the rotary frequencies" },
    rotaryInterleaved: { default: false, doc: "rotary pairs are neighbours instead of halves" },
    window: { default: window, doc: "keys seen before and after a query; -1: all" },
    causal: { default: true, doc: "no key after the query" },
    alibi: { default: false, doc: "distance penalties of ALiBi" },
    softcap: { default: 0, doc: "limit of the scores through a tanh; 0: none" },
    dropout: { default: 0, doc: "dropout rate of the weights" },
    qkvBias: { default: true, doc: "bias of the input projection" },
    outBias: { default: true, doc: "bias of the output projection" },
    shortConv: { default: false, doc: "three-tap causal convolution of queries, keys and values" },
  }) as const;

function build(
  shape: LayerShape,
  o: OptionsOf<ReturnType<typeof options>>,
  blocks?: AttentionBlockOptions,
): Mixer {
  const size = shape.dim / o.heads;
  return new MultiHeadAttention({
    key: shape.key,
    dim: shape.dim,
    heads: o.heads,
    headsKv: o.headsKv === 0 ? o.heads : o.headsKv,
    rotaryDim: o.rotaryDim < 0 ? size - (size % 2) : o.rotaryDim,
    rotaryBase: o.rotaryBase,
    rotaryInterleaved: o.rotaryInterleaved,
    window: [o.window[0] ?? -1, o.window[1] ?? -1],
    causal: o.causal,
    alibi: o.alibi,
    softcap: o.softcap,
    dropout: o.dropout,
    qkvBias: o.qkvBias,
    outBias: o.outBias,
    shortConv: o.shortConv,
    ...(blocks ? { blocks } : {}),
  });
}

const SOURCE = "Vaswani et al. 2017, arXiv 1706.03762; rotary positions: Su et al. 2021, arXiv 2104.09864";
const WINDOW_SOURCE = "Beltagy et al. 2020, arXiv 2004.05150";

export const attentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "attention",
  shorthand: "A",
  summary: "Causal softmax attention with one head and rotary positions.",
  source: SOURCE,
  options: options(1, -1, [-1, -1]),
  build,
});

export const multiHeadAttentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "mh-attention",
  shorthand: "mA",
  summary: "Causal softmax attention with several heads and rotary positions.",
  source: SOURCE,
  options: options(16, -1, [-1, -1]),
  build,
});

export const slidingAttentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "sliding-attention",
  shorthand: "As",
  summary: "Attention of one head to the last 33 positions.",
  source: WINDOW_SOURCE,
  options: options(1, -1, [32, 32]),
  build,
});

export const multiHeadSlidingAttentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "mh-sliding-attention",
  shorthand: "mAs",
  summary: "Attention of several heads to the last 33 positions.",
  source: WINDOW_SOURCE,
  options: options(16, -1, [32, 32]),
  build,
});

const BLOCK_PATTERNS = ["local-strided", "butterfly"] as const;

export const blockSparseAttentionEntry: LayerEntry<Mixer> = defineMixer({
  name: "block-sparse-attention",
  shorthand: "mAb",
  summary:
    "Attention of several heads between listed blocks of queries and keys; what is not listed costs nothing.",
  source:
    "Dao et al. 2022, arXiv 2205.14135; patterns: Child et al. 2019, arXiv 1904.10509, Dao et al. 2021, arXiv 2112.00029",
  options: {
    ...options(16, -1, [-1, -1]),
    blockQueries: { default: 16, doc: "queries of a block" },
    blockKeys: { default: 16, doc: "keys of a block" },
    pattern: { default: "local-strided", doc: "which blocks meet", choices: BLOCK_PATTERNS },
    local: { default: 1, doc: "blocks before and after its own that a block sees, with local-strided" },
    stride: { default: 4, doc: "of so many blocks all rows see the last, with local-strided; 0: none" },
    levels: { default: 32, doc: "binary digits in which blocks may differ, with butterfly" },
  },
  build: (shape, o) => {
    const { blockQueries, blockKeys, pattern, local, stride, levels, ...rest } = o;
    const near = localBlocks(local);
    const strided = stride > 0 ? unionOfBlocks(near, stridedBlocks(stride)) : near;
    return build(shape, rest, {
      size: { queries: blockQueries, keys: blockKeys },
      pattern: pattern === "butterfly" ? butterflyBlocks(levels) : strided,
    });
  },
});
