// Multi-head softmax attention.

import {
  checkOptions,
  concat,
  ConfigError,
  narrow,
  random,
  reshape,
  ShapeError,
  split,
  tensor,
  unsqueeze,
  where,
  type Tensor,
} from "@everlong/core";
import {
  alibiSlopes,
  attention,
  attentionProbabilities,
  isMixed,
  packedAttention,
  type AttentionOptions,
} from "@everlong/kernels";
import type { ForwardOptions } from "../layer.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import { Rotary, type RotaryMath } from "../layers/rotary.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { AttentionBlockPatterns, type AttentionBlockOptions } from "./attention-blocks.ts";
import { attendCached, extendCache, fillCache, type KeyValueCache } from "./attention-cache.ts";
import { compactPositions, fullLengths, pack, packing, unpack, weightedValues } from "./attention-padding.ts";
import { lastReal } from "./padding.ts";

export type { AttentionBlockOptions } from "./attention-blocks.ts";
export * from "./block-patterns.ts";

export interface MultiHeadAttentionOptions {
  readonly key: Tensor;
  /** Width D. */
  readonly dim: number;
  /** Number of heads H. Default 16. */
  readonly heads?: number;
  /** Heads of keys and values; divides `heads`. Default: `heads`. */
  readonly headsKv?: number;
  /** Default true. */
  readonly causal?: boolean;
  /** Keys seen before and after a query's own; -1: all. Default [-1, -1]. */
  readonly window?: readonly [number, number];
  /** Leading features of a head that turn with position; 0: none. Default 0. */
  readonly rotaryDim?: number;
  /** Default 10000. */
  readonly rotaryBase?: number;
  /** Length scale of XPos; default off. */
  readonly rotaryScaleBase?: number;
  /** Rotary pairs are neighbours instead of halves. Default false. */
  readonly rotaryInterleaved?: boolean;
  /** See {@link RotaryMath}. */
  readonly rotaryMath?: RotaryMath;
  /** Adds ALiBi's distance penalties. Default false. */
  readonly alibi?: boolean;
  /** Of the attention weights. Default 0. */
  readonly dropout?: number;
  /** Default true. */
  readonly qkvBias?: boolean;
  /** Default true. */
  readonly outBias?: boolean;
  /** Default 1/sqrt(head size). */
  readonly scale?: number;
  /** Limits scores to +-softcap by a tanh. Default 0: off. */
  readonly softcap?: number;
  /** Three-tap causal depthwise convolution of queries, keys and values. Default false. */
  readonly shortConv?: boolean;
  /** Queries from `x`, keys and values from another sequence (`context`). Default false. */
  readonly cross?: boolean;
  /** Blocks of queries and keys that meet; all else costs nothing. Default: all pairs. */
  readonly blocks?: AttentionBlockOptions;
}

const OPTIONS = [
  "key",
  "dim",
  "heads",
  "headsKv",
  "causal",
  "window",
  "rotaryDim",
  "rotaryBase",
  "rotaryScaleBase",
  "rotaryInterleaved",
  "rotaryMath",
  "alibi",
  "dropout",
  "qkvBias",
  "outBias",
  "scale",
  "softcap",
  "shortConv",
  "cross",
  "blocks",
] as const satisfies readonly (keyof MultiHeadAttentionOptions)[];

export interface AttentionForwardOptions extends ForwardOptions {
  /** `[B, S, D]`: what keys and values are made of, with `cross`. */
  readonly context?: Tensor;
  /** `[B, S]` bool for `context`; without `cross`, `mask` is used. */
  readonly contextMask?: Tensor;
}

/** Softmax attention over heads (Vaswani et al. 2017) with rotary or ALiBi positions, windows and grouped keys. */
export class MultiHeadAttention implements Mixer {
  /** `[(H + 2 G) K, D]`: queries, keys, values. */
  readonly wqkv: Linear | undefined;
  readonly wq: Linear | undefined;
  readonly wkv: Linear | undefined;
  readonly dwconvQkv: ShortConv | undefined;
  readonly dwconvQ: ShortConv | undefined;
  readonly dwconvKv: ShortConv | undefined;
  readonly outProj: Linear;
  readonly causal: boolean;
  readonly dim: number;
  readonly heads: number;
  readonly headsKv: number;
  readonly window: readonly [number, number];
  readonly scale: number;
  readonly softcap: number;
  readonly dropout: number;
  readonly #rotary: Rotary | undefined;
  readonly #slopes: readonly number[] | undefined;
  readonly #blocks: AttentionBlockPatterns | undefined;

  constructor(options: MultiHeadAttentionOptions) {
    checkOptions("MultiHeadAttention", options, OPTIONS);
    const { key, dim, heads = 16, causal = true, window = [-1, -1], rotaryDim = 0, cross = false } = options;
    const { headsKv = heads, qkvBias = true, outBias = true, shortConv = false, alibi = false } = options;
    if (dim % heads !== 0)
      throw new ConfigError("MultiHeadAttention", "heads do not divide dim", {
        got: `dim ${dim}, heads ${heads}`,
      });
    if (heads % headsKv !== 0)
      throw new ConfigError("MultiHeadAttention", "headsKv does not divide heads", {
        got: `${heads}, ${headsKv}`,
      });
    if (cross && rotaryDim > 0)
      throw new ConfigError("MultiHeadAttention", "rotary positions need self-attention");
    const size = dim / heads;
    if (rotaryDim > size) {
      throw new ConfigError("MultiHeadAttention", "rotaryDim exceeds the head", {
        expected: `at most ${size}`,
        got: `${rotaryDim}`,
      });
    }
    [this.dim, this.heads, this.headsKv, this.causal, this.window] = [dim, heads, headsKv, causal, window];
    this.scale = options.scale ?? 1 / Math.sqrt(size);
    this.softcap = options.softcap ?? 0;
    this.dropout = checkRate("MultiHeadAttention", options.dropout ?? 0);
    this.#slopes = alibi ? alibiSlopes(heads) : undefined;
    this.#blocks = options.blocks && new AttentionBlockPatterns(options.blocks, heads);
    const keys = random.splitKey(key, 6) as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
    const kvWidth = 2 * headsKv * size;
    if (cross) {
      this.wq = new Linear({ key: keys[0], inputs: dim, outputs: dim, bias: qkvBias });
      this.wkv = new Linear({ key: keys[1], inputs: dim, outputs: kvWidth, bias: qkvBias });
    } else this.wqkv = new Linear({ key: keys[0], inputs: dim, outputs: dim + kvWidth, bias: qkvBias });
    if (shortConv && !cross && heads === headsKv)
      this.dwconvQkv = new ShortConv({ key: keys[2], channels: dim + kvWidth });
    else if (shortConv) {
      this.dwconvQ = new ShortConv({ key: keys[3], channels: dim });
      this.dwconvKv = new ShortConv({ key: keys[4], channels: kvWidth });
    }
    if (rotaryDim > 0) {
      const { rotaryBase, rotaryScaleBase, rotaryInterleaved, rotaryMath } = options;
      this.#rotary = new Rotary({
        dim: rotaryDim,
        ...(rotaryBase === undefined ? {} : { base: rotaryBase }),
        ...(rotaryScaleBase === undefined ? {} : { scaleBase: rotaryScaleBase }),
        ...(rotaryInterleaved === undefined ? {} : { interleaved: rotaryInterleaved }),
        ...(rotaryMath === undefined ? {} : { tableMath: rotaryMath }),
      });
    }
    this.outProj = new Linear({ key: keys[5], inputs: dim, outputs: dim, bias: outBias });
  }

  get headSize(): number {
    return this.dim / this.heads;
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: AttentionForwardOptions = {}): Tensor {
    if (isMixed() && this.#isPlain(options)) return this.#attendPacked(x);
    const { q, k, v } = this.#project(x, options);
    return this.#attend(q, k, v, options);
  }

  /** Whether the joint projection can be attended to as it is. */
  #isPlain(options: AttentionForwardOptions): boolean {
    const extras = [
      options.mask,
      options.positions,
      this.#slopes,
      this.#blocks,
      this.dwconvQkv,
      this.dwconvQ,
    ];
    return (
      this.wqkv !== undefined &&
      this.heads === this.headsKv &&
      this.softcap === 0 &&
      this.#rotary?.scaleBase === undefined &&
      !(this.dropout > 0 && options.key) &&
      extras.every((e) => e === undefined)
    );
  }

  #attendPacked(x: Tensor): Tensor {
    const [batch, time] = x.shape as [number, number, number];
    const qkv = reshape(this.wqkv!.forward(x), [batch, time, 3, this.heads, this.headSize]);
    const y = packedAttention(qkv, {
      causal: this.causal,
      window: this.window,
      scale: this.scale,
      tables: this.#rotary?.tables(time, x.device),
      interleaved: this.#rotary?.interleaved ?? false,
    });
    return this.outProj.forward(reshape(y, [batch, time, this.dim]));
  }

  /** Softmax weights `[B, H, T, S]` of a forward pass without masks. */
  weights(x: Tensor, options: AttentionForwardOptions = {}): Tensor {
    const { q, k } = this.#project(x, options);
    return attentionProbabilities(q, k, this.#settings(q, k));
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    this.#needsGeneration("prefill");
    const time = x.shape[1]!;
    if (time > options.capacity) {
      throw new ShapeError("MultiHeadAttention.prefill", "the prompt exceeds the capacity", {
        expected: `at most ${options.capacity}`,
        got: `${time}`,
      });
    }
    const { mask } = options;
    // Padding has no position: what comes next follows the last real one.
    const compact = mask && { positions: compactPositions(mask) };
    const { q, k, v, tail } = this.#project(x, { ...compact, ...options });
    const cache = fillCache(k, v, packing(mask), this.#slots(options.capacity));
    return { y: this.#attend(q, k, v, options), state: { ...cache, ...tail } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    this.#needsGeneration("step");
    const before = state as KeyValueCache;
    const positions = unsqueeze(before.length, 1);
    const { q, k, v, tail } = this.#project(unsqueeze(x, 1), { positions }, state);
    const cache = extendCache(before, k, v);
    const context = attendCached(q, cache, {
      scale: this.scale,
      softcap: this.softcap,
      reach: this.window[0],
      slopes: this.#slopesOn(x),
      listed: this.#blocks?.seen(cache.positions, cache.length),
    });
    return {
      y: this.outProj.forward(reshape(context, [x.shape[0]!, this.dim])),
      state: { ...cache, ...tail },
    };
  }

  stateBytes(time: number): number {
    const tail = this.dwconvQkv || this.dwconvQ ? 2 * (this.heads + 2 * this.headsKv) * this.headSize * 4 : 0;
    return 2 * this.#slots(time) * this.headsKv * this.headSize * 4 + tail;
  }

  flops(time: number): number {
    const width = (this.heads + 2 * this.headsKv) * this.headSize;
    const left = this.window[0] < 0 ? time - 1 : Math.min(this.window[0], time - 1);
    const right = this.causal ? 0 : this.window[1] < 0 ? time - 1 : Math.min(this.window[1], time - 1);
    // Sum over queries of the keys in reach, cut at both ends of the sequence.
    const side = (reach: number): number => reach * time - (reach * (reach + 1)) / 2;
    const pairs = this.#blocks?.pairs(time, left, right) ?? time + side(left) + side(right);
    return 2 * time * this.dim * (width + this.dim) + 4 * pairs * this.dim;
  }

  #slots(capacity: number): number {
    // patterns are drawn on all positions
    if (this.window[0] < 0 || this.#blocks) return capacity;
    return Math.min(capacity, this.window[0] + 1);
  }

  #needsGeneration(what: string): void {
    if (!this.wqkv || !this.causal) {
      throw new ConfigError(`MultiHeadAttention.${what}`, "generation needs causal self-attention");
    }
    if (this.#rotary?.scaleBase !== undefined) {
      throw new ConfigError(
        `MultiHeadAttention.${what}`,
        "XPos scales keys by the length of the sequence, which generation does not know",
      );
    }
  }

  #slopesOn(like: Tensor): Tensor | undefined {
    return this.#slopes && tensor([...this.#slopes], { dtype: like.dtype, device: like.device });
  }

  #settings(q: Tensor, k: Tensor): AttentionOptions {
    const slopes = this.#slopesOn(q);
    return {
      causal: this.causal,
      window: this.window,
      scale: this.scale,
      softCap: this.softcap,
      ...(slopes ? { alibiSlopes: slopes } : {}),
      ...(this.#blocks ? { blocks: this.#blocks.on(q.device, q.shape[1]!, k.shape[1]!) } : {}),
    };
  }

  #attend(q: Tensor, k: Tensor, v: Tensor, options: AttentionForwardOptions): Tensor {
    const dropKey = this.dropout > 0 ? options.key : undefined;
    const queries = packing(this.wqkv ? options.mask : undefined);
    const keys = packing(this.wqkv ? options.mask : options.contextMask);
    const settings: AttentionOptions = {
      ...this.#settings(q, k),
      ...(keys ? { keyLengths: keys.lengths } : {}),
      ...(queries ? { queryLengths: queries.lengths } : keys ? { queryLengths: fullLengths(q) } : {}),
    };
    const [pq, pk, pv] = [pack(q, queries), pack(k, keys), pack(v, keys)];
    const y = dropKey
      ? weightedValues(dropout(attentionProbabilities(pq, pk, settings), this.dropout, dropKey, 0), pv)
      : attention(pq, pk, pv, settings);
    return this.outProj.forward(reshape(unpack(y, queries), [q.shape[0]!, q.shape[1]!, this.dim]));
  }

  /** Heads of queries `[B, T, H, K]`, keys and values `[B, S, G, K]`, positioned. */
  #project(
    x: Tensor,
    options: AttentionForwardOptions,
    state?: MixerState,
  ): { q: Tensor; k: Tensor; v: Tensor; tail: MixerState } {
    const size = this.headSize;
    const tail: { [name: string]: Tensor } = {};
    const convolve: Convolve = (layer, t, name) => {
      if (!layer) return t;
      const before = state?.[name];
      const wide = before ? concat([before, t], 1) : t;
      tail[name] = lastReal(wide, layer.width - 1, before ? undefined : options.mask);
      return before ? narrow(layer.forward(wide), 1, layer.width - 1, wide.shape[1]!) : layer.forward(t);
    };
    const masked = (t: Tensor, mask: Tensor | undefined): Tensor =>
      mask && (this.dwconvQkv || this.dwconvQ) ? where(unsqueeze(mask, -1), t, 0) : t;
    const flat = this.wqkv
      ? this.#splitJoint(masked(this.wqkv.forward(x), options.mask), convolve)
      : this.#splitCross(x, options, masked, convolve);
    const heads = (t: Tensor): Tensor => reshape(t, [t.shape[0]!, t.shape[1]!, t.shape[2]! / size, size]);
    let q = heads(flat.q);
    let k = heads(flat.k);
    const v = heads(flat.v);
    if (this.#rotary) {
      q = this.#rotary.apply(q, { positions: options.positions });
      k = this.#rotary.apply(k, { positions: options.positions, side: "key" });
    }
    return { q, k, v, tail };
  }

  /** The joint projection, cut once: three slices of one tensor. */
  #splitJoint(all: Tensor, convolve: Convolve): { q: Tensor; k: Tensor; v: Tensor } {
    const kvWidth = this.headsKv * this.headSize;
    const mixed = convolve(this.dwconvQkv, all, "tailQkv");
    if (!this.dwconvQ) {
      const [q, k, v] = split(mixed, [this.dim, kvWidth, kvWidth], -1) as [Tensor, Tensor, Tensor];
      return { q, k, v };
    }
    const [q, kv] = split(mixed, [this.dim, 2 * kvWidth], -1) as [Tensor, Tensor];
    const [k, v] = split(convolve(this.dwconvKv, kv, "tailKv"), 2, -1) as [Tensor, Tensor];
    return { q: convolve(this.dwconvQ, q, "tailQ"), k, v };
  }

  /** Queries of `x`, keys and values of the context. */
  #splitCross(
    x: Tensor,
    options: AttentionForwardOptions,
    masked: (t: Tensor, mask: Tensor | undefined) => Tensor,
    convolve: Convolve,
  ): { q: Tensor; k: Tensor; v: Tensor } {
    const context = options.context ?? x;
    const q = convolve(this.dwconvQ, masked(this.wq!.forward(x), options.mask), "tailQ");
    const kv = convolve(this.dwconvKv, masked(this.wkv!.forward(context), options.contextMask), "tailKv");
    const [k, v] = split(kv, 2, -1) as [Tensor, Tensor];
    return { q, k, v };
  }
}

/** Applies a short convolution if there is one, noting what a next step needs under a name. */
type Convolve = (layer: ShortConv | undefined, t: Tensor, name: string) => Tensor;
