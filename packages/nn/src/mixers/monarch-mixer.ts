// The sequence mixer of Monarch Mixer's BERT (Fu et al. 2023, arXiv 2310.12109, section 4): Hyena of order 2 with filters on
// both sides, and a second long convolution of the input beside it.

import { ConfigError, ShapeError, add, checkOptions, mul, random, split, type Tensor } from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { OnlineConvs } from "../filters/online-convs.ts";
import type { ForwardOptions } from "../layer.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import { LayerNorm } from "../layers/norm.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { HyenaFilter, type HyenaFilterSettings } from "./hyena-filter.ts";
import { lastReal, zeroPadding } from "./padding.ts";

export interface MonarchMixerOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Longest input; filters are scaled to it. */
  readonly maxLength: number;
  /** Filters for lags -1, -2, ... beside those for 0, 1, ... Default true. */
  readonly bidirectional?: boolean;
  /** A second long convolution, of the input itself, added before the output map. Default true. */
  readonly residualConv?: boolean;
  /** A layer norm of the input, as in some of the published models; without it `dropout` has no effect. Default false. */
  readonly inputNorm?: boolean;
  /** Of gated values and of the sum before the output map. Default 0. */
  readonly dropout?: number;
  /** Frequencies start at 10, weight decay at 0.1; the rest as in {@link HyenaFilterSettings}. */
  readonly filter?: HyenaFilterSettings;
}

/**
 * With projections `a, b, v` of `u = x` (or its layer norm) after a convolution of three taps:
 * `y = W (b * (h * (a v) + d a v) + h' * u + d' u)`. Names in the state are m2's.
 */
export class MonarchMixer implements Mixer {
  readonly filterFn: HyenaFilter;
  readonly filterFn2: HyenaFilter | undefined;
  readonly inLinear: Linear;
  readonly outLinear: Linear;
  readonly layernorm: LayerNorm | undefined;
  readonly shortFilter: ShortConv;
  readonly causal: boolean;
  readonly dim: number;
  readonly maxLength: number;
  readonly dropout: number;

  constructor(options: MonarchMixerOptions) {
    checkOptions("MonarchMixer", options, [
      "key",
      "dim",
      "maxLength",
      "bidirectional",
      "residualConv",
      "inputNorm",
      "dropout",
      "filter",
    ]);
    const { key, dim, maxLength, bidirectional = true, residualConv = true, inputNorm = false } = options;
    [this.dim, this.maxLength, this.causal] = [dim, maxLength, !bidirectional];
    this.dropout = inputNorm ? checkRate("MonarchMixer", options.dropout ?? 0) : 0;
    const keys = random.splitKey(key, 5) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const filter = (k: Tensor): HyenaFilter =>
      new HyenaFilter({
        frequency: 10,
        weightDecay: 0.1,
        ...options.filter,
        key: k,
        channels: dim,
        maxLength,
        reverse: bidirectional,
      });
    this.filterFn = filter(keys[0]);
    if (residualConv) this.filterFn2 = filter(keys[1]);
    this.inLinear = new Linear({ key: keys[2], inputs: dim, outputs: 3 * dim });
    this.outLinear = new Linear({ key: keys[3], inputs: dim, outputs: dim });
    if (inputNorm) this.layernorm = new LayerNorm({ dim, device: key.device });
    this.shortFilter = new ShortConv({ key: keys[4], channels: 3 * dim, width: 3 });
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#run(x, options).y;
  }

  /** @throws ConfigError for filters that read the future */
  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    this.#needSteps();
    const { mask, capacity } = options;
    const { y, raw, inputs } = this.#run(x, options);
    const time = Math.max(x.shape[1]!, Math.min(capacity, this.maxLength));
    const filters = [this.filterFn, ...(this.filterFn2 ? [this.filterFn2] : [])];
    const convs = filters.map((f, i) => ({
      inputs: lastReal(inputs[i]!, x.shape[1]!, mask),
      taps: f.forward(time),
      skip: f.skip(),
    }));
    const limits = { capacity, longest: this.maxLength };
    const tail = lastReal(raw, this.shortFilter.width - 1, mask);
    return { y, state: { tail, ...OnlineConvs.start("MonarchMixer", convs, limits) } };
  }

  /** @param x `[B, D]` */
  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    this.#needSteps();
    const u = this.layernorm ? this.layernorm.forward(x) : x;
    const { y: now, tail } = this.shortFilter.step(this.inLinear.forward(u), state["tail"]!);
    const [a, b, v] = split(now, 3, -1) as [Tensor, Tensor, Tensor];
    const convs = new OnlineConvs(state);
    const gated = mul(convs.next(mul(v, a)), b);
    const y = this.filterFn2 ? add(gated, convs.next(u)) : gated;
    return { y: this.outLinear.forward(y), state: { tail, ...convs.state } };
  }

  #needSteps(): void {
    if (this.causal) return;
    throw new ConfigError("MonarchMixer", "this layer cannot be run one position at a time", {
      got: "two-sided filters",
      hint: "Use forward, or build it with bidirectional: false.",
    });
  }

  /** The output, projections before the short convolution, and the inputs of the long ones. */
  #run(x: Tensor, { mask, key }: ForwardOptions): { y: Tensor; raw: Tensor; inputs: readonly Tensor[] } {
    if (x.rank !== 3 || x.shape[2] !== this.dim || x.shape[1]! > this.maxLength) {
      throw new ShapeError("MonarchMixer", "expected [B, T, D]", {
        expected: `[B, up to ${this.maxLength}, ${this.dim}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const u = zeroPadding(this.layernorm ? this.layernorm.forward(x) : x, mask);
    const raw = zeroPadding(this.inLinear.forward(u), mask);
    const [a, b, v] = split(zeroPadding(this.shortFilter.forward(raw), mask), 3, -1) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const input = mul(v, a);
    const drops = key !== undefined && this.dropout > 0;
    const gated = drops
      ? this.#convolve(dropout(input, this.dropout, key, 0), this.filterFn, { postGate: b })
      : this.#convolve(v, this.filterFn, { preGate: a, postGate: b });
    const y = this.filterFn2 ? add(gated, this.#convolve(u, this.filterFn2, {})) : gated;
    return { y: this.outLinear.forward(dropout(y, this.dropout, key, 1)), raw, inputs: [input, u] };
  }

  /** Bytes of the inputs that an exact continuation of the causal form needs; of all inputs otherwise. */
  stateBytes(time: number): number {
    const long = this.dim * Math.min(time, this.maxLength) * (this.filterFn2 ? 2 : 1);
    return 4 * (long + 3 * this.dim * (this.shortFilter.width - 1));
  }

  flops(time: number): number {
    const { dim } = this;
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    const filters = [this.filterFn, this.filterFn2].filter((f) => f !== undefined);
    const long = filters.reduce((n, f) => n + dim * (3 * transform + 14 * time) + f.flops(time), 0);
    return 8 * time * dim * dim + 18 * time * dim + long;
  }

  #convolve(
    u: Tensor,
    filter: HyenaFilter,
    gates: { readonly preGate?: Tensor; readonly postGate?: Tensor },
  ): Tensor {
    const time = u.shape[1]!;
    const skip = filter.skip();
    return fftConv(u, filter.forward(time), {
      layout: "bld",
      ...gates,
      ...(skip ? { skip } : {}),
      ...(this.causal ? {} : { mode: "two-sided", backward: filter.backward(time), firstBackwardLag: -1 }),
    });
  }
}
