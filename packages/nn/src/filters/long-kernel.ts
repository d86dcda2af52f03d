// Free convolution filters: every tap is a parameter, kept in hand by squashing and smoothing (Fu et al. 2023). It is not:
// an operator; mixers convolve with it.

import {
  ConfigError,
  Complex,
  abs,
  add,
  checkOptions,
  cos,
  iota,
  irfft,
  mul,
  narrow,
  pad,
  random,
  relu,
  rfft,
  sign,
  sub,
  tensor,
  exp,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { gaussian } from "../initial.ts";
import { parameterOrBuffer } from "../layer.ts";
import { checkRate, dropout } from "../layers/dropout.ts";

export const LONG_KERNEL_STARTS = ["random", "double-exponential"] as const;
export type LongKernelStart = (typeof LONG_KERNEL_STARTS)[number];

export const SMOOTHINGS = ["none", "time", "frequency"] as const;
export type Smoothing = (typeof SMOOTHINGS)[number];

/** What mixers with free filters pass on. */
export interface LongKernelSettings {
  /**
   * First taps. `random`: normal, deviation 0.002. `double-exponential` (default): normal, deviation 0.02, times
   * `exp(-(t/J) floor(H/2)^(h/H))`, so that channels reach differently far.
   */
  readonly start?: LongKernelStart;
  /** Threshold of the squashing; taps below it are 0 and get no gradient. Default 0.001. */
  readonly squash?: number;
  /** Moving average over taps, or Gaussian average over frequencies. Default none. */
  readonly smoothing?: Smoothing;
  /** Width of the average; odd for `time`. Default 7. */
  readonly window?: number;
  /** Rate at which taps are dropped in training. Default 0. */
  readonly dropout?: number;
  /** Learning-rate hint of the taps; 0 keeps them fixed. */
  readonly learningRate?: number;
  /**
   * The original's average over frequencies: weights do not sum to 1, the half spectrum ends in zeros instead of its mirror
   * image, and an odd number of taps loses the last one. Default false.
   */
  readonly compat?: boolean;
}

export interface LongKernelOptions extends LongKernelSettings {
  readonly key: Tensor;
  /** Independent sets of filters C. */
  readonly sets: number;
  /** Channels H. */
  readonly channels: number;
  /** Taps J. */
  readonly taps: number;
}

const OPTIONS = [
  "key",
  "sets",
  "channels",
  "taps",
  "start",
  "squash",
  "smoothing",
  "window",
  "dropout",
  "learningRate",
  "compat",
] as const satisfies readonly (keyof LongKernelOptions)[];

/**
 * `k = drop(squash(smooth(w)))` with `squash(w) = sign(w) max(|w| - lambda, 0)`: filters `[C, H, J]`.
 * Source: Fu et al. 2023, "Simple Hardware-Efficient Long Convolutions for Sequence Modeling", section 3.
 */
export class LongKernel {
  /** `[C, H, J]`. */
  readonly kernel: Variable;
  readonly taps: number;
  readonly channels: number;
  readonly squash: number;
  readonly smoothing: Smoothing;
  readonly window: number;
  readonly dropout: number;
  readonly compat: boolean;

  constructor(options: LongKernelOptions) {
    checkOptions("LongKernel", options, OPTIONS);
    const { key, sets, channels, taps, start = "double-exponential", squash = 1e-3 } = options;
    const { smoothing = "none", window = 7, learningRate } = options;
    for (const [name, n] of Object.entries({ sets, channels, taps, window })) {
      if (!Number.isInteger(n) || n < 1)
        throw new ConfigError("LongKernel", `${name} must be a positive integer`, { got: `${n}` });
    }
    if (!LONG_KERNEL_STARTS.includes(start))
      throw new ConfigError("LongKernel", "unknown start", {
        expected: LONG_KERNEL_STARTS.join(", "),
        got: start,
      });
    if (!SMOOTHINGS.includes(smoothing))
      throw new ConfigError("LongKernel", "unknown smoothing", {
        expected: SMOOTHINGS.join(", "),
        got: smoothing,
      });
    if (smoothing === "time" && window % 2 === 0)
      throw new ConfigError("LongKernel", "the window must be odd", { got: `${window}` });
    if (!(squash >= 0))
      throw new ConfigError("LongKernel", "squash must not be negative", { got: `${squash}` });
    [this.taps, this.channels, this.squash, this.window] = [taps, channels, squash, window];
    this.smoothing = smoothing;
    this.dropout = checkRate("LongKernel", options.dropout ?? 0);
    this.compat = options.compat ?? false;
    const hints = { weightDecay: 0, ...(learningRate === undefined ? {} : { learningRate }) };
    this.kernel = parameterOrBuffer(startTaps(key, [sets, channels, taps], start), hints);
  }

  /** Filters `[C, H, J]`. @param key drops taps. */
  forward(key?: Tensor): Tensor {
    const smooth = this.#smooth(this.kernel.value);
    const squashed = mul(sign(smooth), relu(sub(abs(smooth), this.squash)));
    return dropout(squashed, this.dropout, key, 0);
  }

  flops(): number {
    const elements = this.kernel.shape.reduce((a, b) => a * b, 1);
    return elements * (3 + (this.smoothing === "time" ? this.window : 1));
  }

  #smooth(k: Tensor): Tensor {
    if (this.smoothing === "none") return k;
    const half = Math.floor(this.window / 2);
    if (this.smoothing === "time") {
      const weights = Array.from({ length: this.window }, () => 1 / this.window);
      return correlate(k, weights, half);
    }
    const bell = Array.from({ length: this.window }, (_, i) => Math.exp(-0.5 * (i - half) ** 2));
    if (this.compat) {
      const left = Math.floor((this.window - 1) / 2);
      // The original keeps its weights in float32 whatever the taps are.
      const weights = bell.map(Math.fround);
      const spectrum = rfft(k).map((t) => correlate(t, weights, left));
      return irfft(new Complex(spectrum.re, spectrum.im));
    }
    // A circular average over frequencies is a product with the average's transform over time.
    const total = bell.reduce((a, b) => a + b, 0);
    const on = { device: k.device, dtype: k.dtype };
    const t = iota([this.taps], 0, on);
    let weight: Tensor | undefined;
    for (const [i, g] of bell.entries()) {
      const term = mul(cos(mul(t, (2 * Math.PI * (i - half)) / this.taps)), g / total);
      weight = weight ? add(weight, term) : term;
    }
    return mul(k, weight!);
  }
}

/** `y[i] = sum_j w[j] x[i + j - left]` over the last axis, zeros outside. */
function correlate(x: Tensor, weights: readonly number[], left: number): Tensor {
  const n = x.shape[x.rank - 1]!;
  const wide = pad(x, [[left, weights.length - 1 - left]]);
  return weights.map((w, j) => mul(narrow(wide, -1, j, j + n), w)).reduce((a, b) => add(a, b));
}

function startTaps(key: Tensor, shape: readonly number[], start: LongKernelStart): Tensor {
  if (start === "random") return gaussian(key, shape, 0.002);
  const [, channels, taps] = shape as [number, number, number];
  const on = { device: key.device, dtype: key.device.defaultFloat };
  const rates = Array.from({ length: channels }, (_, h) => [
    -(Math.floor(channels / 2) ** (h / channels)) / taps,
  ]);
  const envelope = exp(mul(iota([channels, taps], 1, on), tensor(rates, on)));
  return mul(random.normal(key, shape, { std: 0.02 }), envelope);
}
