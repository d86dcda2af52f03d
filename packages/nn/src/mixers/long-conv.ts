// Long convolution with free filters as a sequence mixer (Fu et al. 2023). Covers safari's layer and its standalone file.

import {
  ConfigError,
  ShapeError,
  checkOptions,
  flip,
  mul,
  narrow,
  ones,
  pad,
  permute,
  random,
  reshape,
  tile,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fftConv, type FftConvOptions } from "@everlong/kernels";
import type { LongFilter, LongFilterLayer } from "../distillation/distill.ts";
import { modalBytes, type ModalRecurrence } from "../distillation/modal-recurrence.ts";
import { BlockFft, type BlockFftOptions } from "../filters/block-fft.ts";
import { LongKernel, type LongKernelSettings } from "../filters/long-kernel.ts";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { activate, activationName, isGated, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { circularConv } from "../filters/circular-conv.ts";
import { CarriedConvs } from "../filters/carried-convs.ts";
import { OnlineConvs } from "../filters/online-convs.ts";
import { roundHalfEven } from "../ssm/rounding.ts";
import { lastReal, zeroPadding } from "./padding.ts";

export const LONG_CONV_SIDES = ["causal", "two-sided", "folded"] as const;
/**
 * - `causal`: tap j at lag j.
 * - `two-sided`: a second set of filters acts on the future.
 * - `folded`: one set of `2 maxLength` taps; the second half, read from its end, acts on the future from lag -1.
 */
export type LongConvSides = (typeof LONG_CONV_SIDES)[number];

/**
 * The originals' circular convolution, in which taps that reach beyond the period act on the future: with period
 * `min(T, maxLength) + T` (`short-period`, safari) or `2 T` (`double-period`, standalone file). Without it no tap wraps.
 */
export const LONG_CONV_COMPAT = ["short-period", "double-period"] as const;
export type LongConvCompat = (typeof LONG_CONV_COMPAT)[number];

export interface LongConvOptions {
  readonly key: Tensor;
  /** Width D. */
  readonly dim: number;
  /** Taps of a filter; inputs may be of any length. */
  readonly maxLength: number;
  /** Filters for each input channel, C. Default 1. */
  readonly channels?: number;
  /** Default `causal`. */
  readonly sides?: LongConvSides;
  /** Where tap 0 of the second set of `two-sided` acts. Default -1. */
  readonly firstBackwardLag?: 0 | -1;
  /** After the convolution; `glu` and the like halve the width C D, which must be even. Default gelu. */
  readonly activation?: string;
  /** After the output map; null leaves the map out (the width becomes C D). Default glu. */
  readonly outputActivation?: string | null;
  /** Rate of dropout before the output map. Default 0. */
  readonly dropout?: number;
  /** The same channels are dropped at all positions. Default false. */
  readonly tieDropout?: boolean;
  readonly filter?: LongKernelSettings;
  readonly compat?: LongConvCompat;
  /** Convolves through a {@link BlockFft}. With learned matrices the layer is not causal. Default: the FFT. */
  readonly blockFft?: Omit<BlockFftOptions, "key">;
}

const OPTIONS = [
  "key",
  "dim",
  "maxLength",
  "channels",
  "sides",
  "firstBackwardLag",
  "activation",
  "outputActivation",
  "dropout",
  "tieDropout",
  "filter",
  "compat",
  "blockFft",
] as const satisfies readonly (keyof LongConvOptions)[];

/**
 * `y = out(act(k_c * u + d_c u))` with C filters `k_c` for every channel, their results side by side:
 * `[B, T, D]` to `[B, T, D]`. The output map is `W z + b`, gated when `outputActivation` is `glu`.
 */
export class LongConv implements Mixer, LongFilterLayer {
  /** Recurrences in place of the filters during generation; see {@link distill}. */
  modal: readonly ModalRecurrence[] | undefined;
  /** `[C, D]`: weight of the input itself. */
  readonly skip: Variable;
  readonly kernel: LongKernel;
  readonly transform: BlockFft | undefined;
  readonly outputLinear: Linear | undefined;
  readonly causal: boolean;
  readonly dim: number;
  readonly channels: number;
  readonly maxLength: number;
  readonly sides: LongConvSides;
  readonly activation: ActivationName;
  readonly outputActivation: ActivationName;
  readonly dropout: number;
  readonly #tie: boolean;
  readonly #firstBackwardLag: 0 | -1;
  readonly #compat: LongConvCompat | undefined;

  constructor(options: LongConvOptions) {
    checkOptions("LongConv", options, OPTIONS);
    const { key, dim, maxLength, channels = 1, sides = "causal", compat } = options;
    const { outputActivation = "glu", firstBackwardLag = -1 } = options;
    for (const [name, n] of Object.entries({ dim, maxLength, channels })) {
      if (!Number.isInteger(n) || n < 1)
        throw new ConfigError("LongConv", `${name} must be a positive integer`, { got: `${n}` });
    }
    if (!LONG_CONV_SIDES.includes(sides))
      throw new ConfigError("LongConv", "unknown sides", {
        expected: LONG_CONV_SIDES.join(", "),
        got: sides,
      });
    if (compat !== undefined && !LONG_CONV_COMPAT.includes(compat))
      throw new ConfigError("LongConv", "unknown compat", {
        expected: LONG_CONV_COMPAT.join(", "),
        got: compat,
      });
    if (firstBackwardLag !== -1 && (sides !== "two-sided" || compat))
      throw new ConfigError("LongConv", "firstBackwardLag 0 needs two-sided filters without compat");
    [this.dim, this.channels, this.maxLength, this.sides] = [dim, channels, maxLength, sides];
    this.activation = activationName(options.activation ?? "gelu");
    this.outputActivation = activationName(outputActivation ?? "identity");
    this.dropout = checkRate("LongConv", options.dropout ?? 0);
    this.#tie = options.tieDropout ?? false;
    this.#firstBackwardLag = firstBackwardLag;
    this.#compat = compat;
    // A circular convolution reaches the future whenever an input is shorter than the filter.
    this.causal = sides === "causal" && compat === undefined;
    if (options.blockFft) {
      if (compat) throw new ConfigError("LongConv", "blockFft and compat exclude each other");
      this.transform = new BlockFft({ ...options.blockFft, key: random.foldIn(key, 3) });
      // nothing ties learned matrices to the past
      this.causal &&= !this.transform.learned;
    }
    const [skipKey, kernelKey, outKey] = random.splitKey(key, 3) as [Tensor, Tensor, Tensor];
    this.skip = parameter(gaussian(skipKey, [channels, dim], 1));
    this.kernel = new LongKernel({
      ...options.filter,
      key: kernelKey,
      sets: channels * (sides === "two-sided" ? 2 : 1),
      channels: dim,
      taps: maxLength * (sides === "folded" ? 2 : 1),
    });
    const inner = (channels * dim) / (isGated(this.activation) ? 2 : 1);
    if (!Number.isInteger(inner))
      throw new ConfigError("LongConv", "a gated activation needs an even width", {
        got: `${channels * dim} for ${this.activation}`,
      });
    if (outputActivation === null) return;
    const wide = isGated(this.outputActivation) ? 2 * dim : dim;
    this.outputLinear = new Linear({ key: outKey, inputs: inner, outputs: wide });
  }

  /**
   * @param x `[B, T, D]`, any T.
   * @param rate with `short-period`, safari's argument of that name: it changes the period, and the filters not at all
   */
  forward(x: Tensor, options: ForwardOptions = {}, rate = 1): Tensor {
    if (x.rank !== 3 || x.shape[2] !== this.dim) {
      throw new ShapeError("LongConv", "expected [B, T, D]", {
        expected: `[B, T, ${this.dim}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const { mask, key } = options;
    const u = zeroPadding(x, mask);
    const filters = this.kernel.forward(key && random.foldIn(key, 1));
    let y = activate(this.activation, this.#convolve(this.#wide(u), filters, rate));
    if (key && this.dropout > 0) {
      y = this.#tie
        ? mul(
            y,
            dropout(
              ones([y.shape[0]!, 1, y.shape[2]!], { dtype: y.dtype, device: y.device }),
              this.dropout,
              key,
              0,
            ),
          )
        : dropout(y, this.dropout, key, 0);
    }
    return this.#out(y);
  }

  /** @throws ConfigError for filters that read the future */
  prefill(x: Tensor, options: PrefillOptions): { readonly y: Tensor; readonly state: MixerState } {
    this.#needSteps();
    const { mask, capacity } = options;
    const taps = this.#rows(this.kernel.forward(), 0, this.maxLength);
    const inputs = this.#wide(lastReal(x, x.shape[1]!, mask));
    const convs = [{ inputs, taps, skip: reshape(this.skip.value, [-1]) }];
    return {
      y: this.forward(x, options),
      state: OnlineConvs.start("LongConv", convs, { capacity, modal: this.modal }),
    };
  }

  /** @param x `[B, D]` */
  step(x: Tensor, state: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    this.#needSteps();
    const convs = new OnlineConvs(state, this.modal);
    const y = activate(this.activation, convs.next(this.#wide(x)));
    return { y: this.#out(y), state: convs.state };
  }

  /**
   * A part of a longer input, with what came before as `state`: forward over parts equals forward over the whole.
   * @param x `[B, T, D]`
   * @throws ConfigError for filters that read the future
   */
  chunk(x: Tensor, state?: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    this.#needSteps();
    const convs = new CarriedConvs(state);
    const taps = this.#rows(this.kernel.forward(), 0, this.maxLength);
    const y = convs.next(this.#wide(x), taps, reshape(this.skip.value, [-1]));
    return { y: this.#out(activate(this.activation, y)), state: convs.state };
  }

  /** Bytes of the slots of every filter. */
  stateBytes(time: number): number {
    return this.modal ? modalBytes(this.modal[0]!) : 4 * time * this.dim * this.channels;
  }

  flops(time: number): number {
    const rows = this.dim * this.channels;
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    const out = this.outputLinear ? 2 * time * this.outputLinear.weight.value.size : 0;
    return rows * (3 * transform + 14 * time) + out + this.kernel.flops();
  }

  /** @throws ConfigError for filters that read the future */
  longFilters(length: number): readonly LongFilter[] {
    this.#needSteps();
    const taps = this.#rows(this.kernel.forward(), 0, Math.min(length, this.maxLength));
    return [{ taps, skip: reshape(this.skip.value, [-1]) }];
  }

  #needSteps(): void {
    if (this.causal) return;
    throw new ConfigError("LongConv", "this layer cannot be run one position at a time", {
      got: this.transform?.learned ? "learned matrices" : (this.#compat ?? `${this.sides} filters`),
      hint: "Use forward.",
    });
  }

  /** Inputs once for each filter: `[.., D]` to `[.., C D]`. */
  #wide(x: Tensor): Tensor {
    return this.channels === 1 ? x : tile(x, this.channels, -1);
  }

  #out(y: Tensor): Tensor {
    return this.outputLinear ? activate(this.outputActivation, this.outputLinear.forward(y)) : y;
  }

  /** Taps `from` to `to` of the C filters from set `first` on, time first: `[to - from, C D]`. */
  #rows(filters: Tensor, from: number, to: number, first = 0): Tensor {
    const part = narrow(narrow(filters, 0, first, first + this.channels), 2, from, to);
    return permute(reshape(part, [this.channels * this.dim, to - from]), [1, 0]);
  }

  /** `u` `[B, T, C D]` with filters `[C or 2 C, D, J]`, skip included. */
  #convolve(u: Tensor, filters: Tensor, rate: number): Tensor {
    const skip = reshape(this.skip.value, [this.channels * this.dim]);
    const taps = filters.shape[2]!;
    const behind =
      this.sides === "two-sided"
        ? this.#rows(filters, 0, taps, this.channels)
        : this.sides === "folded"
          ? flip(this.#rows(filters, this.maxLength, taps), 0)
          : undefined;
    if (this.#compat) {
      const time = u.shape[1]!;
      const reach = roundHalfEven(this.maxLength / rate);
      const period = this.#compat === "short-period" ? Math.min(time, reach) + time : 2 * time;
      return circularConv(u, this.#periodic(this.#rows(filters, 0, taps), behind, time), skip, period);
    }
    const ahead = this.#rows(filters, 0, this.sides === "folded" ? this.maxLength : taps);
    const how: FftConvOptions = {
      layout: "bld",
      skip,
      ...(behind ? { mode: "two-sided", backward: behind, firstBackwardLag: this.#firstBackwardLag } : {}),
    };
    return this.transform ? this.transform.conv(u, ahead, how) : fftConv(u, ahead, how);
  }

  /** The originals' filter of one period: backward taps are flipped behind `time` further places. */
  #periodic(ahead: Tensor, behind: Tensor | undefined, time: number): Tensor {
    if (this.sides !== "two-sided") return ahead;
    const zeros = (before: number, after: number): [number, number][] => [
      [before, after],
      [0, 0],
    ];
    return pad(ahead, zeros(0, time)).add(pad(flip(behind!, 0), zeros(time, 0)));
  }
}
