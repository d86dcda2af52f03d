// Hyena whose channels belong to experts: each position reads from the experts that a router picks (Poli et al. 2024,
// arXiv 2403.17844, appendix).

import {
  ConfigError,
  checkOptions,
  mul,
  narrow,
  random,
  reshape,
  split,
  sum,
  unsqueeze,
  type Tensor,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import type { LongFilter, LongFilterLayer } from "../distillation/distill.ts";
import { modalBytes, type ModalRecurrence } from "../distillation/modal-recurrence.ts";
import { checkExperts, expertWeights, makeRouter } from "../channel/router.ts";
import type { ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { HyenaFilter, type HyenaFilterSettings } from "./hyena-filter.ts";
import { OnlineConvs } from "../filters/online-convs.ts";
import { needOneOf } from "./linear-attention.ts";
import { tooLong } from "./multi-head-hyena.ts";
import { lastReal, zeroPadding } from "./padding.ts";

/**
 * Behaviour of mad-lab that differs from a mixture of experts:
 * - `soft-unselected`: experts outside the best keep weight, as if their score were 0.
 * - `truncate`: inputs longer than `maxLength` are cut; the output is shorter.
 */
export const HYENA_EXPERTS_COMPAT = ["soft-unselected", "truncate"] as const;
export type HyenaExpertsCompat = (typeof HYENA_EXPERTS_COMPAT)[number];

export interface HyenaExpertsOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Longest input; filters are scaled to it. */
  readonly maxLength: number;
  /** Depth of the recurrence: order - 1 long convolutions. Default 2. */
  readonly order?: number;
  /** E. Default 8. */
  readonly experts?: number;
  /** Experts that count at a position. Default 2. */
  readonly active?: number;
  /** Channels of an expert F. Default D / E. */
  readonly inner?: number;
  /** Taps of the short convolution. Default 3. */
  readonly shortFilterOrder?: number;
  /** Between the recurrence and the experts' sum. Default identity. */
  readonly activation?: string;
  /** Of gated values. Default 0. */
  readonly dropout?: number;
  readonly filter?: HyenaFilterSettings;
  readonly compat?: readonly HyenaExpertsCompat[];
}

/**
 * Hyena over `F E` channels, `y_t = W_o sum_e p_e z_(t, e)` with z `[F, E]` what the recurrence gives (the expert's number
 * running fastest) and p a softmax over the `active` best of the scores `R x_t`. Names in the state are Hyena's.
 */
export class HyenaExperts implements Mixer, LongFilterLayer {
  /** Recurrences in place of the filters during generation; see {@link distill}. */
  modal: readonly ModalRecurrence[] | undefined;
  readonly inProj: Linear;
  readonly shortFilter: ShortConv;
  readonly filterFn: HyenaFilter;
  /** `[D, F]`. */
  readonly outProj: Linear;
  readonly router: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly maxLength: number;
  readonly order: number;
  readonly experts: number;
  readonly active: number;
  readonly inner: number;
  readonly activation: ActivationName;
  readonly dropout: number;
  readonly #compat: ReadonlySet<HyenaExpertsCompat>;

  constructor(options: HyenaExpertsOptions) {
    checkOptions("HyenaExperts", options, [
      "key",
      "dim",
      "maxLength",
      "order",
      "experts",
      "active",
      "inner",
      "shortFilterOrder",
      "activation",
      "dropout",
      "filter",
      "compat",
    ]);
    const { key, dim, maxLength, order = 2, experts = 8, active = 2, compat = [] } = options;
    const { shortFilterOrder: width = 3 } = options;
    checkExperts("HyenaExperts", experts, active);
    for (const name of compat) needOneOf("HyenaExperts", "compat", name, HYENA_EXPERTS_COMPAT);
    const inner = options.inner ?? dim / experts;
    if (!Number.isInteger(inner) || inner < 1) {
      throw new ConfigError("HyenaExperts", "experts need whole channels", {
        got: `${inner} of width ${dim} and ${experts} experts`,
      });
    }
    if (!Number.isInteger(order) || order < 2)
      throw new ConfigError("HyenaExperts", "order must be an integer from 2", { got: `${order}` });
    [this.dim, this.maxLength, this.order] = [dim, maxLength, order];
    [this.experts, this.active, this.inner] = [experts, active, inner];
    this.activation = activationName(options.activation ?? "identity");
    this.dropout = checkRate("HyenaExperts", options.dropout ?? 0);
    this.#compat = new Set(compat);
    const channels = inner * experts;
    const keys = random.splitKey(key, 5) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    this.inProj = new Linear({ key: keys[0], inputs: dim, outputs: (order + 1) * channels });
    this.shortFilter = new ShortConv({ key: keys[1], channels: (order + 1) * channels, width });
    this.filterFn = new HyenaFilter({
      ...options.filter,
      key: keys[2],
      channels: channels * (order - 1),
      maxLength,
    });
    this.outProj = new Linear({ key: keys[3], inputs: inner, outputs: dim });
    this.router = makeRouter(keys[4], dim, experts);
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#run(x, options).y;
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    const { mask, capacity } = options;
    const { y, raw, inputs } = this.#run(x, options);
    const time = raw.shape[1]!;
    const filters = this.#filters(Math.max(time, Math.min(capacity, this.maxLength)));
    const convs = inputs.map((u, o) => ({ ...filters[o]!, inputs: lastReal(u, time, mask) }));
    const tail = lastReal(raw, this.shortFilter.width - 1, mask);
    const held = OnlineConvs.start("HyenaExperts", convs, {
      capacity,
      longest: this.maxLength,
      modal: this.modal,
    });
    return { y, state: { tail, ...held } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const { y: now, tail } = this.shortFilter.step(this.inProj.forward(x), state["tail"]!);
    const parts = split(now, this.order + 1, -1);
    const convs = new OnlineConvs(state, this.modal);
    let v = parts[this.order]!;
    for (let o = 0; o < this.order - 1; o++) v = convs.next(mul(v, parts[this.order - 1 - o]!));
    return { y: this.#choose(mul(v, parts[0]!), x), state: { tail, ...convs.state } };
  }

  longFilters(length: number): readonly LongFilter[] {
    return this.#filters(length);
  }

  /** The output, projections before the short convolution, and the inputs of every long convolution. */
  #run(x: Tensor, options: ForwardOptions): { y: Tensor; raw: Tensor; inputs: Tensor[] } {
    const time = x.shape[1]!;
    const { mask, key } = options;
    if (time > this.maxLength) {
      if (!this.#compat.has("truncate")) throw tooLong("HyenaExperts", time, this.maxLength);
      const cut = mask ? { ...options, mask: narrow(mask, -1, 0, this.maxLength) } : options;
      return this.#run(narrow(x, 1, 0, this.maxLength), cut);
    }
    const raw = zeroPadding(this.inProj.forward(x), mask);
    const parts = split(zeroPadding(this.shortFilter.forward(raw), mask), this.order + 1, -1);
    const inputs: Tensor[] = [];
    let v = parts[this.order]!;
    for (const [o, { taps, skip }] of this.#filters(time).entries()) {
      const gated = dropout(mul(v, parts[this.order - 1 - o]!), this.dropout, key, o);
      inputs.push(gated);
      v = fftConv(gated, taps, { layout: "bld", ...(skip ? { skip } : {}) });
    }
    return { y: this.#choose(mul(v, parts[0]!), x), raw, inputs };
  }

  /** Taps `[T, F E]` and skip weights of every convolution. */
  #filters(time: number): { taps: Tensor; skip: Tensor | undefined }[] {
    const channels = this.experts * this.inner;
    const count = this.order - 1;
    // Filter channels are (channel, convolution) with the convolution fastest, as in Hyena.
    const all = reshape(this.filterFn.forward(time), [time, channels, count]);
    const skips = this.filterFn.skip();
    return Array.from({ length: count }, (_, o) => ({
      taps: reshape(narrow(all, 2, o, o + 1), [time, channels]),
      skip: skips && reshape(narrow(reshape(skips, [channels, count]), 1, o, o + 1), [channels]),
    }));
  }

  /** Sums the experts' channels of `v` `[..., F E]` by the router's weights for the input `x`. */
  #choose(v: Tensor, x: Tensor): Tensor {
    const z = reshape(activate(this.activation, v), [...x.shape.slice(0, -1), this.inner, this.experts]);
    const soft = this.#compat.has("soft-unselected");
    const weights = expertWeights(this.router.forward(x), this.active, soft);
    return this.outProj.forward(sum(mul(z, unsqueeze(weights, -2)), -1));
  }

  /** Bytes of the slots of every long convolution, and of the short one's inputs. */
  stateBytes(time: number): number {
    const channels = this.experts * this.inner;
    const slots = 4 * Math.min(time, this.maxLength) * channels * (this.order - 1);
    const long = this.modal?.reduce((n, filter) => n + modalBytes(filter), 0) ?? slots;
    return long + 4 * channels * (this.order + 1) * (this.shortFilter.width - 1);
  }

  flops(time: number): number {
    const channels = this.experts * this.inner;
    const width = channels * (this.order + 1);
    const maps = 2 * time * (this.dim * (width + this.experts) + this.inner * this.dim);
    const short = 2 * time * width * this.shortFilter.width;
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    const long = (this.order - 1) * channels * (3 * transform + 14 * time);
    return maps + short + long + 2 * time * channels + this.filterFn.flops(time);
  }
}
