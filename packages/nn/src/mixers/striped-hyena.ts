// The convolutional operators of StripedHyena 2 (Ku et al. 2025, arXiv 2503.01868, section 2): one gated convolution at each of
// three scales, in which groups of channels share a filter.

import {
  ConfigError,
  ShapeError,
  add,
  checkOptions,
  einsum,
  exp,
  flip,
  mul,
  narrow,
  random,
  repeat,
  reshape,
  split,
  sum,
  transpose,
  unsqueeze,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fftConv, shortConv } from "@everlong/kernels";
import {
  DecayedFilter,
  ExplicitFilter,
  ModalFilter,
  type DecayPreset,
  type StripedFilter,
} from "../filters/striped-filter.ts";
import { fanInUniform } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { needOneOf } from "./linear-attention.ts";
import { appended, lastReal, zeroPadding } from "./padding.ts";

export const STRIPES = ["short", "medium", "long"] as const;
/** Scale of the filter: SE, MR or LI. */
export type Stripe = (typeof STRIPES)[number];

export interface StripedHyenaOptions {
  readonly key: Tensor;
  readonly dim: number;
  readonly stripe: Stripe;
  /** Filters G, each of D / G neighbouring channels. Default D. */
  readonly groups?: number;
  /** Taps of the short and medium filters. Defaults 7 and 128. */
  readonly width?: number;
  /** Of the medium filter. Default "strong". */
  readonly decay?: DecayPreset;
  /** Of the medium filter: see {@link DecayedFilter}. Default 1e-5. */
  readonly scale?: number;
  /** Exponentials N of the long filter. Default 16. */
  readonly modes?: number;
  /** Taps of the convolution after the input projection. Default 3. */
  readonly shortFilterOrder?: number;
  /** A bias in that convolution. Default false. */
  readonly shortFilterBias?: boolean;
  /** Three neighbouring channels of the projection are gate, gate and value, instead of three thirds. Default false. */
  readonly interleaved?: boolean;
}

/** Longest filter that is summed tap by tap instead of through a transform. */
const DIRECT_TAPS = 32;

/**
 * With projections `x, g, v` of the input after a short convolution: `y = W (x * (h * (g v) + d g v))`, `*` first a product, then
 * a causal convolution; h as {@link ExplicitFilter}, {@link DecayedFilter} or {@link ModalFilter}, without d for the first.
 * Any length; steps are exact, from the last inputs (SE, MR) or from N states a channel (LI).
 */
export class StripedHyena implements Mixer {
  readonly inProj: Linear;
  readonly shortFilter: ShortConv;
  readonly filter: ExplicitFilter | DecayedFilter | ModalFilter;
  /** `[D]`: d. */
  readonly convBias: Variable | undefined;
  readonly outProj: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly groups: number;
  readonly stripe: Stripe;
  readonly #interleaved: boolean;

  constructor(options: StripedHyenaOptions) {
    checkOptions("StripedHyena", options, [
      "key",
      "dim",
      "stripe",
      "groups",
      "width",
      "decay",
      "scale",
      "modes",
      "shortFilterOrder",
      "shortFilterBias",
      "interleaved",
    ]);
    const { key, dim, stripe, groups = dim, interleaved = false } = options;
    needOneOf("StripedHyena", "stripe", stripe, STRIPES);
    if (!Number.isInteger(groups) || groups < 1 || dim % groups !== 0)
      throw new ConfigError("StripedHyena", "groups must divide the width", { got: `${groups} of ${dim}` });
    const unused = {
      short: ["decay", "scale", "modes"],
      medium: ["modes"],
      long: ["width", "decay", "scale"],
    }[stripe].find((name) => name in options);
    if (unused !== undefined)
      throw new ConfigError("StripedHyena", `option "${unused}" has no effect on a ${stripe} filter`);
    [this.dim, this.groups, this.stripe, this.#interleaved] = [dim, groups, stripe, interleaved];
    const keys = random.splitKey(key, 5) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    this.inProj = new Linear({ key: keys[0], inputs: dim, outputs: 3 * dim, bias: false });
    this.shortFilter = new ShortConv({
      key: keys[1],
      channels: 3 * dim,
      width: options.shortFilterOrder ?? 3,
      bias: options.shortFilterBias ?? false,
    });
    this.filter = makeFilter(keys[2], groups, options);
    if (stripe !== "short") this.convBias = parameter(fanInUniform(keys[3], [dim], dim));
    this.outProj = new Linear({ key: keys[4], inputs: dim, outputs: dim });
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#run(x, options).y;
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    const { mask } = options;
    const { y, raw, input } = this.#run(x, options);
    const tail = lastReal(raw, this.shortFilter.width - 1, mask);
    if (!(this.filter instanceof ModalFilter))
      return { y, state: { tail, inputs: lastReal(input, this.filter.reach - 1, mask) } };
    // s_n = sum_t pole_n^(T - 1 - t) u_t, real positions last.
    const [batch, time] = x.shape as [number, number, number];
    const last = lastReal(input, time, mask);
    const rows = reshape(last, [batch, time, this.groups, this.dim / this.groups]);
    const modes = einsum("btgc,gnt->bgcn", rows, flip(this.filter.powers(time), -1));
    return { y, state: { tail, modes: reshape(modes, [batch, this.dim, this.filter.modes]) } };
  }

  /** @param x `[B, D]` */
  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const { y: now, tail } = this.shortFilter.step(this.inProj.forward(x), state["tail"]!);
    const [out, gate, v] = this.#split(now);
    const u = mul(gate, v);
    if (this.filter instanceof ModalFilter) {
      const poles = this.#perChannel(exp(this.filter.logPoles()), 0);
      const modes = add(mul(state["modes"]!, poles), unsqueeze(u, -1));
      const y = sum(mul(modes, this.#perChannel(this.filter.residues(), 0)), -1);
      return { y: this.#finish(y, u, out), state: { tail, modes } };
    }
    const { reach } = this.filter;
    const inputs = appended(state["inputs"]!, u);
    const y = sum(mul(inputs, flip(this.#perChannel(this.filter.forward(reach), 1), 0)), 1);
    return { y: this.#finish(y, u, out), state: { tail, inputs: narrow(inputs, 1, 1, reach) } };
  }

  /** Of the inputs that both convolutions still see, or of the modes: whatever the length. */
  stateBytes(): number {
    const held = this.filter instanceof ModalFilter ? this.filter.modes : this.filter.reach - 1;
    return 4 * this.dim * (held + 3 * (this.shortFilter.width - 1));
  }

  flops(time: number): number {
    const { dim, filter } = this;
    const maps = 8 * time * dim * dim + 6 * time * dim * this.shortFilter.width;
    const conv =
      filter.reach <= DIRECT_TAPS
        ? 2 * time * filter.reach
        : 3 * 2.5 * 2 * time * Math.log2(2 * time) + 14 * time;
    return maps + dim * (conv + 4 * time) + filter.flops(time);
  }

  /** The output, projections before the short convolution, and the long one's input. */
  #run(x: Tensor, { mask }: ForwardOptions): { y: Tensor; raw: Tensor; input: Tensor } {
    if (x.rank !== 3 || x.shape[2] !== this.dim) {
      throw new ShapeError("StripedHyena", "expected [B, T, D]", {
        expected: `[B, T, ${this.dim}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const raw = zeroPadding(this.inProj.forward(x), mask);
    const [out, gate, v] = this.#split(zeroPadding(this.shortFilter.forward(raw), mask));
    const taps = this.#perChannel((this.filter as StripedFilter).forward(x.shape[1]!), 1);
    const input = mul(gate, v);
    if (this.filter.reach <= DIRECT_TAPS) {
      const y = shortConv(input, unsqueeze(transpose(flip(taps, 0)), 1));
      return { y: this.#finish(y, input, out), raw, input };
    }
    const y = fftConv(v, taps, {
      layout: "bld",
      preGate: gate,
      postGate: out,
      ...(this.convBias ? { skip: this.convBias.value } : {}),
    });
    return { y: this.outProj.forward(y), raw, input };
  }

  #finish(y: Tensor, u: Tensor, out: Tensor): Tensor {
    const whole = this.convBias ? add(y, mul(u, this.convBias.value)) : y;
    return this.outProj.forward(mul(whole, out));
  }

  /** Output gate, input gate and value out of `[..., 3 D]`. */
  #split(x: Tensor): readonly [Tensor, Tensor, Tensor] {
    if (!this.#interleaved) return split(x, 3, -1) as [Tensor, Tensor, Tensor];
    const lead = x.shape.slice(0, -1);
    const triples = reshape(x, [...lead, this.dim, 3]);
    const part = (i: number): Tensor => reshape(narrow(triples, -1, i, i + 1), [...lead, this.dim]);
    return [part(0), part(1), part(2)];
  }

  /** What groups share, for every channel along `axis`. */
  #perChannel(x: Tensor, axis: number): Tensor {
    return this.groups === this.dim ? x : repeat(x, this.dim / this.groups, axis);
  }
}

function makeFilter(
  key: Tensor,
  groups: number,
  { stripe, width, decay, scale, modes }: StripedHyenaOptions,
): ExplicitFilter | DecayedFilter | ModalFilter {
  if (stripe === "long") return new ModalFilter({ key, groups, ...(modes === undefined ? {} : { modes }) });
  const taps = width === undefined ? {} : { width };
  if (stripe === "short") return new ExplicitFilter({ key, groups, ...taps });
  return new DecayedFilter({
    key,
    groups,
    ...taps,
    ...(decay === undefined ? {} : { decay }),
    ...(scale === undefined ? {} : { scale }),
  });
}
