// Hyena with heads (Massaroli et al. 2023, arXiv 2310.18780, section 4): every head convolves the outer products of its values
// and gates with one filter.

import {
  ConfigError,
  ShapeError,
  broadcastTo,
  checkOptions,
  mul,
  narrow,
  permute,
  random,
  reshape,
  split,
  squeeze,
  sum,
  tile,
  unsqueeze,
  type Tensor,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import type { LongFilter, LongFilterLayer } from "../distillation/distill.ts";
import { modalBytes, type ModalRecurrence } from "../distillation/modal-recurrence.ts";
import type { ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { HyenaFilter, type HyenaFilterSettings } from "./hyena-filter.ts";
import { needOneOf } from "./linear-attention.ts";
import { OnlineConvs } from "../filters/online-convs.ts";
import { lastReal, zeroPadding } from "./padding.ts";

/**
 * Behaviour of mad-lab that differs from its description:
 * - `swapped-heads`: the number of heads is used as the size of a head, so that there are D / heads of them.
 * - `truncate`: inputs longer than `maxLength` are cut; the output is shorter.
 */
export const MULTI_HEAD_HYENA_COMPAT = ["swapped-heads", "truncate"] as const;
export type MultiHeadHyenaCompat = (typeof MULTI_HEAD_HYENA_COMPAT)[number];

export interface MultiHeadHyenaOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Longest input; filters are scaled to it. */
  readonly maxLength: number;
  /** H. Default 16. */
  readonly heads?: number;
  /** Inner width over D. Default 1. */
  readonly innerFactor?: number;
  /** The input projection makes 1/groups of its channels, repeated before the short convolution. Default 4. */
  readonly projectionGroups?: number;
  /** Taps of the short convolution. Default 3. */
  readonly shortFilterOrder?: number;
  readonly filter?: HyenaFilterSettings;
  readonly compat?: readonly MultiHeadHyenaCompat[];
}

/**
 * With projections `q, k, v` of the input in H heads of size d: `M_t = sum_s h_(t-s) k_s v_s^T + b k_t v_t^T`,
 * `y_t = W_o M_t^T q_t`, h and b one per head. Names in the state are those of Hyena.
 */
export class MultiHeadHyena implements Mixer, LongFilterLayer {
  /** Recurrences in place of the filters during generation; see {@link distill}. */
  modal: readonly ModalRecurrence[] | undefined;
  readonly inProj: Linear;
  readonly shortFilter: ShortConv;
  /** Channel h filters head h. */
  readonly filterFn: HyenaFilter;
  readonly outProj: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly inner: number;
  readonly maxLength: number;
  /** H, the number of filters. */
  readonly heads: number;
  /** d. */
  readonly headSize: number;
  readonly #groups: number;
  readonly #truncate: boolean;

  constructor(options: MultiHeadHyenaOptions) {
    checkOptions("MultiHeadHyena", options, [
      "key",
      "dim",
      "maxLength",
      "heads",
      "innerFactor",
      "projectionGroups",
      "shortFilterOrder",
      "filter",
      "compat",
    ]);
    const { key, dim, maxLength, heads = 16, innerFactor = 1, projectionGroups = 4, compat = [] } = options;
    for (const name of compat) needOneOf("MultiHeadHyena", "compat", name, MULTI_HEAD_HYENA_COMPAT);
    const inner = dim * innerFactor;
    if (inner % heads !== 0 || (3 * inner) % projectionGroups !== 0) {
      throw new ConfigError("MultiHeadHyena", "heads and projection groups must divide the widths", {
        got: `width ${inner}, ${heads} heads, ${projectionGroups} groups`,
      });
    }
    const swapped = compat.includes("swapped-heads");
    [this.dim, this.inner, this.maxLength] = [dim, inner, maxLength];
    [this.heads, this.headSize] = swapped ? [inner / heads, heads] : [heads, inner / heads];
    this.#groups = projectionGroups;
    this.#truncate = compat.includes("truncate");
    const keys = random.splitKey(key, 4) as [Tensor, Tensor, Tensor, Tensor];
    this.inProj = new Linear({ key: keys[0], inputs: dim, outputs: (3 * inner) / projectionGroups });
    const { shortFilterOrder: width = 3 } = options;
    this.shortFilter = new ShortConv({ key: keys[1], channels: 3 * inner, width });
    this.filterFn = new HyenaFilter({ ...options.filter, key: keys[2], channels: this.heads, maxLength });
    this.outProj = new Linear({ key: keys[3], inputs: inner, outputs: dim });
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#run(x, options).y;
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    const { mask, capacity } = options;
    const { y, raw, k, v } = this.#run(x, options);
    const time = raw.shape[1]!;
    const taps = this.filterFn.forward(Math.max(time, Math.min(capacity, this.maxLength)));
    const inputs = this.#pairs(lastReal(k, time, mask), lastReal(v, time, mask));
    const conv = { inputs, taps, skip: this.filterFn.skip() };
    const tail = lastReal(raw, this.shortFilter.width - 1, mask);
    const held = OnlineConvs.start("MultiHeadHyena", [conv], {
      capacity,
      longest: this.maxLength,
      modal: this.modal,
    });
    return { y, state: { tail, ...held } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const { y: now, tail } = this.shortFilter.step(
      tile(this.inProj.forward(x), this.#groups, -1),
      state["tail"]!,
    );
    const [q, v, k] = split(unsqueeze(now, 1), 3, -1) as [Tensor, Tensor, Tensor];
    const convs = new OnlineConvs(state, this.modal);
    const memory = convs.next(squeeze(this.#pairs(k, v), 1));
    return { y: squeeze(this.#read(unsqueeze(memory, 1), q), 1), state: { tail, ...convs.state } };
  }

  longFilters(length: number): readonly LongFilter[] {
    return [{ taps: this.filterFn.forward(length), skip: this.filterFn.skip() }];
  }

  #run(x: Tensor, options: ForwardOptions): { y: Tensor; raw: Tensor; k: Tensor; v: Tensor } {
    const time = x.shape[1]!;
    const { mask } = options;
    if (time > this.maxLength) {
      if (!this.#truncate) throw tooLong("MultiHeadHyena", time, this.maxLength);
      const cut = mask ? { ...options, mask: narrow(mask, -1, 0, this.maxLength) } : options;
      return this.#run(narrow(x, 1, 0, this.maxLength), cut);
    }
    const raw = zeroPadding(tile(this.inProj.forward(x), this.#groups, -1), mask);
    const convolved = zeroPadding(this.shortFilter.forward(raw), mask);
    const [q, v, k] = split(convolved, 3, -1) as [Tensor, Tensor, Tensor];
    const rows = this.#pairs(k, v);
    const skip = this.filterFn.skip();
    const memory = fftConv(rows, this.filterFn.forward(time), { layout: "bld", ...(skip ? { skip } : {}) });
    return { y: this.#read(memory, q), raw, k, v };
  }

  /** `[B, T, H d]` as `[B, T, H, d]`: channels are (head, feature) with the feature fastest. */
  #heads(t: Tensor): Tensor {
    return reshape(t, [...t.shape.slice(0, 2), this.heads, this.headSize]);
  }

  /** Products of keys and values, a row per pair of features, so that the pairs of a head share its filter: `[B d d, T, H]`. */
  #pairs(k: Tensor, v: Tensor): Tensor {
    const [batch, time] = k.shape as [number, number, number];
    const product = mul(unsqueeze(this.#heads(k), -1), unsqueeze(this.#heads(v), -2));
    const rows = batch * this.headSize ** 2;
    return reshape(permute(product, [0, 3, 4, 1, 2]), [rows, time, this.heads]);
  }

  /** The layer's output `[B, T, D]`: the memory `[B d d, T, H]` read by queries. */
  #read(memory: Tensor, q: Tensor): Tensor {
    const [batch, time] = q.shape as [number, number, number];
    const shape = [batch, this.headSize, this.headSize, time, this.heads];
    const queries = unsqueeze(permute(this.#heads(q), [0, 3, 1, 2]), 2);
    const read = sum(mul(reshape(memory, shape), broadcastTo(queries, shape)), 1);
    return this.outProj.forward(reshape(permute(read, [0, 2, 3, 1]), [batch, time, this.inner]));
  }

  /** Bytes of the long convolution's slots and of the short one's inputs. */
  stateBytes(time: number): number {
    const slots = 4 * Math.min(time, this.maxLength) * this.inner * this.headSize;
    const long = this.modal ? modalBytes(this.modal[0]!, this.headSize ** 2) : slots;
    return long + 12 * this.inner * (this.shortFilter.width - 1);
  }

  flops(time: number): number {
    const width = 3 * this.inner;
    const projections = 2 * time * (this.dim * (width / this.#groups) + this.inner * this.dim);
    const short = 2 * time * width * this.shortFilter.width;
    const pairs = this.inner * this.headSize;
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    return projections + short + pairs * (2 * transform + 14 * time) + this.filterFn.flops(time);
  }
}

/** What layers with a filter of fixed length say to longer inputs. */
export const tooLong = (layer: string, time: number, limit: number): ShapeError =>
  new ShapeError(layer, "longer than maxLength", {
    expected: `at most ${limit} positions`,
    got: `${time}`,
    hint: "Build the layer with the longest length you will use.",
  });
