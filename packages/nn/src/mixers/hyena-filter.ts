// Hyena's implicit filter (Poli et al. 2023): a small sine network of the position, under an exponential window.

import {
  ConfigError,
  abs,
  add,
  checkOptions,
  div,
  exp,
  mul,
  narrow,
  neg,
  ones,
  random,
  reshape,
  sin,
  squeeze,
  sum,
  tensor,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fullPrecision, isMixed, sineNetwork } from "@everlong/kernels";
import { gaussian } from "../initial.ts";
import { parameter, parameterOrBuffer } from "../layer.ts";
import { LayerNorm } from "../layers/norm.ts";
import { Linear } from "../layers/linear.ts";

/** Options of the filter network; defaults are safari's. */
export interface HyenaFilterSettings {
  /** Features of the position: time, and (embeddingDim - 1) / 2 cosines and sines. Odd, at least 3. Default 3. */
  readonly embeddingDim?: number;
  /** Width of the network. Default 16. */
  readonly width?: number;
  /** Inner layers of `width` to `width`. Default 2. */
  readonly innerLayers?: number;
  /** Initial frequency of the sines. Default 1 (published: 10 for DNA and recall, 14 for language). */
  readonly frequency?: number;
  /** Fixed factor on the frequencies. Default 1. */
  readonly frequencyScale?: number;
  /** One linear map of the features instead of the network. Default false. */
  readonly linear?: boolean;
  /** Multiply by the exponential window. Default true. */
  readonly modulate?: boolean;
  /** Windows reach `target` at this fraction of the length: fastest and slowest channel. Defaults 0.3, 1.5. */
  readonly fastDecay?: number;
  readonly slowDecay?: number;
  /** Default 0.01. */
  readonly target?: number;
  /** Added to the window. Default 0 (0.05 in published HyenaDNA models). */
  readonly shift?: number;
  /** `l1`: each position's channels sum to 1 in magnitude; `layer`: layer norm over channels. Default `none`. */
  readonly normalized?: "none" | "l1" | "layer";
  /** A skip weight per channel. `zeroed` keeps the parameter without effect, as the originals do. Default true. */
  readonly bias?: boolean | "zeroed";
  /** Base learning rate and weight decay of the network. Defaults 1e-3, 0. */
  readonly learningRate?: number;
  readonly weightDecay?: number;
  /** Base learning rates of the features and of the window's rates; 0 makes them buffers. Defaults 1e-5, 0. */
  readonly positionLearningRate?: number;
  readonly modulationLearningRate?: number;
}

export const FILTER_SETTINGS: readonly (keyof HyenaFilterSettings)[] = [
  "embeddingDim",
  "width",
  "innerLayers",
  "frequency",
  "frequencyScale",
  "linear",
  "modulate",
  "fastDecay",
  "slowDecay",
  "target",
  "shift",
  "normalized",
  "bias",
  "learningRate",
  "weightDecay",
  "positionLearningRate",
  "modulationLearningRate",
];

export interface HyenaFilterOptions extends HyenaFilterSettings {
  readonly key: Tensor;
  /** Filters to make. */
  readonly channels: number;
  /** Longest filter; features and windows scale with it, not with the input. */
  readonly maxLength: number;
  /** A second network for lags -1, -2, ..., with the features, frequencies and windows of the first. Default false. */
  readonly reverse?: boolean;
}

/** `sin(scale * freq * x)` with a frequency per feature. */
class Sine {
  /** `[1, width]`. */
  readonly freq: Variable;
  readonly #scale: number;

  constructor(
    width: number,
    frequency: number,
    scale: number,
    like: Tensor,
    hints: { learningRate: number; weightDecay: number },
  ) {
    this.#scale = scale;
    this.freq = parameter(mul(ones([1, width], { device: like.device }), frequency), hints);
  }

  /** `[1, width]`. */
  frequency(): Tensor {
    return this.#scale === 1 ? this.freq.value : mul(this.freq.value, this.#scale);
  }

  forward(x: Tensor): Tensor {
    return sin(mul(x, this.frequency()));
  }
}

/** Position features `z` `[1, L, E]` and normalised time `t` `[1, L, 1]`. */
class PositionFeatures {
  readonly z: Variable;
  readonly t: Variable;

  constructor(dim: number, length: number, learningRate: number, like: Tensor) {
    const bands = (dim - 1) / 2;
    const z = new Float64Array(length * dim);
    const t = new Float64Array(length);
    for (let i = 0; i < length; i++) {
      t[i] = length === 1 ? 0 : i / (length - 1);
      z[i * dim] = t[i]!;
      for (let b = 0; b < bands; b++) {
        const f = bands === 1 ? 1e-4 : 1e-4 + (b * (bands - 1 - 1e-4)) / (bands - 1);
        const angle = (f * 2 * Math.PI * i) / length;
        z[i * dim + 1 + b] = Math.cos(angle);
        z[i * dim + 1 + bands + b] = -Math.sin(angle);
      }
    }
    this.z = parameterOrBuffer(tensor(z, [1, length, dim], { device: like.device }), {
      learningRate,
      weightDecay: 0,
    });
    this.t = parameterOrBuffer(tensor(t, [1, length, 1], { device: like.device }), { learningRate: 0 });
  }
}

/** `x (exp(-t |delta|) + shift)`, delta evenly spaced from the slowest rate (channel 0) to the fastest. */
class ExponentialWindow {
  /** `[1, 1, C]`. */
  readonly deltas: Variable;
  readonly shift: number;

  constructor(
    channels: number,
    slow: number,
    fast: number,
    shift: number,
    learningRate: number,
    like: Tensor,
  ) {
    const data = new Float64Array(channels);
    for (let c = 0; c < channels; c++)
      data[c] = channels === 1 ? slow : slow + ((fast - slow) * c) / (channels - 1);
    this.deltas = parameterOrBuffer(tensor(data, [1, 1, channels], { device: like.device }), {
      learningRate,
      weightDecay: 0,
    });
    this.shift = shift;
  }

  forward(t: Tensor, x: Tensor): Tensor {
    const decay = exp(neg(mul(t, abs(this.deltas.value))));
    return mul(x, this.shift === 0 ? decay : add(decay, this.shift));
  }
}

/** Filters of any length up to `maxLength`, time first. Names in the state are those of safari's filter. */
export class HyenaFilter {
  /** `[C]`: weight of the input itself. */
  readonly bias: Variable | undefined;
  readonly posEmb: PositionFeatures;
  readonly implicitFilter: readonly (Linear | Sine)[];
  readonly implicitFilterRev: readonly (Linear | Sine)[] | undefined;
  readonly modulation: ExponentialWindow;
  readonly postModulationNorm: LayerNorm | undefined;
  readonly channels: number;
  readonly maxLength: number;
  readonly #modulate: boolean;
  readonly #l1: boolean;
  readonly #zeroedBias: boolean;

  constructor(options: HyenaFilterOptions) {
    checkOptions("HyenaFilter", options, ["key", "channels", "maxLength", "reverse", ...FILTER_SETTINGS]);
    const {
      key,
      channels,
      maxLength,
      embeddingDim = 3,
      width = 16,
      innerLayers = 2,
      frequency = 1,
    } = options;
    const {
      linear = false,
      modulate = true,
      fastDecay = 0.3,
      slowDecay = 1.5,
      target = 0.01,
      shift = 0,
    } = options;
    const { normalized = "none", bias = true, learningRate = 1e-3, weightDecay = 0 } = options;
    const { positionLearningRate = 1e-5, modulationLearningRate = 0 } = options;
    if (!Number.isInteger(embeddingDim) || embeddingDim < 3 || embeddingDim % 2 === 0) {
      throw new ConfigError("HyenaFilter", "embeddingDim must be odd and at least 3", {
        got: `${embeddingDim}`,
      });
    }
    if (!Number.isInteger(maxLength) || maxLength < 1)
      throw new ConfigError("HyenaFilter", "maxLength must be positive", { got: `${maxLength}` });
    [this.channels, this.maxLength, this.#modulate] = [channels, maxLength, modulate];
    this.#l1 = normalized === "l1";
    this.#zeroedBias = bias === "zeroed";
    const keys = random.splitKey(key, innerLayers + 3);
    if (bias !== false) this.bias = parameter(gaussian(keys[0]!, [channels], 1));
    this.posEmb = new PositionFeatures(embeddingDim, maxLength, positionLearningRate, key);
    const hints = { learningRate, weightDecay };
    const sine = new Sine(width, frequency, options.frequencyScale ?? 1, key, hints);
    const network = (parts: readonly Tensor[]): (Linear | Sine)[] => {
      const layer = (i: number, inputs: number, outputs: number, withBias: boolean): Linear =>
        new Linear({ key: parts[1 + i]!, inputs, outputs, bias: withBias, hints });
      if (linear) return [layer(0, embeddingDim, channels, false)];
      const inner = Array.from({ length: innerLayers }, (_, i) => [
        layer(1 + i, width, width, true),
        sine,
      ]).flat();
      return [
        layer(0, embeddingDim, width, true),
        sine,
        ...inner,
        layer(1 + innerLayers, width, channels, false),
      ];
    };
    this.implicitFilter = network(keys);
    if (options.reverse)
      this.implicitFilterRev = network(random.splitKey(random.foldIn(key, 1), innerLayers + 3));
    const rate = (fraction: number): number => Math.log(target) / fraction;
    this.modulation = new ExponentialWindow(
      channels,
      rate(slowDecay),
      rate(fastDecay),
      shift,
      modulationLearningRate,
      key,
    );
    if (normalized === "layer")
      this.postModulationNorm = new LayerNorm({ dim: channels, device: key.device });
  }

  /** The first `length` taps `[length, C]`. */
  forward(length: number): Tensor {
    return this.#taps(this.implicitFilter, length);
  }

  /** The taps at lags -1, -2, ... of a filter with `reverse`, `[length, C]`. */
  backward(length: number): Tensor {
    if (!this.implicitFilterRev)
      throw new ConfigError("HyenaFilter", "this filter has no taps for the future", {
        hint: "Build it with reverse: true.",
      });
    return this.#taps(this.implicitFilterRev, length);
  }

  #taps(network: readonly (Linear | Sine)[], length: number): Tensor {
    if (length > this.maxLength) {
      throw new ConfigError("HyenaFilter", "longer than the filter", {
        expected: `at most ${this.maxLength}`,
        got: `${length}`,
      });
    }
    if (isMixed()) {
      const whole = this.#inOneCall(network, length);
      if (whole) return whole;
    }
    return fullPrecision(() => this.#compute(network, length));
  }

  /** The taps in one call, which a device with slow launches prefers; undefined where the network has other parts. */
  #inOneCall(network: readonly (Linear | Sine)[], length: number): Tensor | undefined {
    const sine = network.find((l) => l instanceof Sine);
    if (!sine || this.#l1 || this.postModulationNorm || length === 0) return undefined;
    const features = this.posEmb.z.value;
    const decay = this.modulation.deltas.value;
    const rows = (t: Tensor): Tensor => narrow(t, 1, 0, length);
    return sineNetwork({
      z: squeeze(rows(features), 0),
      frequency: squeeze(sine.frequency(), 0),
      layers: network
        .filter((l) => l instanceof Linear)
        .map((l) => ({ weight: l.weight.value, bias: l.bias?.value })),
      window: this.#modulate
        ? {
            time: reshape(rows(this.posEmb.t.value), [length]),
            decay: reshape(decay, [decay.size]),
            shift: this.modulation.shift,
          }
        : undefined,
    });
  }

  #compute(network: readonly (Linear | Sine)[], length: number): Tensor {
    let h = narrow(this.posEmb.z.value, 1, 0, length);
    for (const layer of network) h = layer.forward(h);
    if (this.#modulate) h = this.modulation.forward(narrow(this.posEmb.t.value, 1, 0, length), h);
    if (this.#l1) h = div(h, sum(abs(h), -1, { keepDims: true }));
    if (this.postModulationNorm) h = this.postModulationNorm.forward(h);
    return squeeze(h, 0);
  }

  /** Skip weights `[C]`, if there are any. */
  skip(): Tensor | undefined {
    const bias = this.bias?.value;
    return bias && this.#zeroedBias ? mul(bias, 0) : bias;
  }

  /** As {@link Mixer.flops}: of making `length` taps. */
  flops(length: number): number {
    const layers = [...this.implicitFilter, ...(this.implicitFilterRev ?? [])];
    const products = layers.reduce(
      (n, l) => n + (l instanceof Linear ? l.weight.shape[0]! * l.weight.shape[1]! : 0),
      0,
    );
    return 2 * length * products;
  }
}
