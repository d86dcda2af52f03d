// The channel mixers of RWKV 5 and 6 (Peng et al. 2024, arXiv 2404.05892): a squared-relu perceptron of a position and its
// predecessor, gated by a receptance.

import {
  add,
  checkOptions,
  mul,
  random,
  relu,
  reshape,
  sigmoid,
  square,
  squeeze,
  sub,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import type { ChannelMixer, Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { lastReal, previous } from "../mixers/padding.ts";
import { checkDepth, presentShare, previousShare } from "../mixers/rwkv-start.ts";

export interface RwkvChannelMixerOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Default 4 D. */
  readonly inner?: number;
  /** This layer's number, from 0, and how many there are. Defaults 0, 1. */
  readonly layer?: number;
  readonly layers?: number;
}

const OPTIONS: readonly (keyof RwkvChannelMixerOptions)[] = ["key", "dim", "inner", "layer", "layers"];

/** The maps that both versions share. */
interface Maps {
  readonly key: Linear;
  readonly receptance: Linear;
  readonly value: Linear;
}

function makeMaps(name: string, options: RwkvChannelMixerOptions): Maps {
  checkOptions(name, options, OPTIONS);
  checkDepth(name, { layer: options.layer ?? 0, layers: options.layers ?? 1 });
  const { key, dim, inner = 4 * dim } = options;
  const [a, b, c] = random.splitKey(key, 3) as [Tensor, Tensor, Tensor];
  return {
    key: new Linear({ key: a, inputs: dim, outputs: inner, bias: false }),
    receptance: new Linear({ key: b, inputs: dim, outputs: dim, bias: false }),
    value: new Linear({ key: c, inputs: inner, outputs: dim, bias: false }),
  };
}

/** `sigmoid(W_r z_r) * W_v relu(W_k z_k)^2`. */
const combine = (maps: Maps, forKey: Tensor, forReceptance: Tensor): Tensor =>
  mul(
    sigmoid(maps.receptance.forward(forReceptance)),
    maps.value.forward(square(relu(maps.key.forward(forKey)))),
  );

const flopsOf = ({ key }: Maps, time: number): number => {
  const [inner, dim] = key.weight.shape as [number, number];
  return 2 * time * (2 * inner * dim + dim * dim);
};

/** `z = m x_t + (1 - m) x_(t-1)`, then {@link combine}. Names in the state are mad-lab's. */
export class Rwkv5ChannelMixer implements ChannelMixer, Mixer {
  /** `[1, 1, D]`. */
  readonly timeMixK: Variable;
  /** `[1, 1, D]`. */
  readonly timeMixR: Variable;
  readonly key: Linear;
  readonly receptance: Linear;
  readonly value: Linear;
  readonly causal = true;

  constructor(options: RwkvChannelMixerOptions) {
    ({
      key: this.key,
      receptance: this.receptance,
      value: this.value,
    } = makeMaps("Rwkv5ChannelMixer", options));
    const depth = { layer: options.layer ?? 0, layers: options.layers ?? 1 };
    this.timeMixK = parameter(presentShare(options.dim, depth, 1, 0, options.key));
    this.timeMixR = parameter(presentShare(options.dim, depth, 1, 0, options.key));
  }

  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#mix(x, previous(x, options.mask));
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    return { y: this.forward(x, options), state: { before: squeeze(lastReal(x, 1, options.mask), 1) } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    return { y: this.#mix(x, state["before"]!), state: { before: x } };
  }

  /** The last input. */
  stateBytes(): number {
    return 4 * this.timeMixK.shape[2]!;
  }

  flops(time: number): number {
    return flopsOf(this, time);
  }

  #mix(x: Tensor, before: Tensor): Tensor {
    const mixed = (share: Variable): Tensor => {
      const m = reshape(share.value, [-1]);
      return add(mul(x, m), mul(before, sub(1, m)));
    };
    return combine(this, mixed(this.timeMixK), mixed(this.timeMixR));
  }
}

/** `z = x_t + a (x_(t-1) - x_t)`, then {@link combine}. Names in the state are mad-lab's. */
export class Rwkv6ChannelMixer implements ChannelMixer, Mixer {
  /** `[1, 1, D]`. */
  readonly timeMaaK: Variable;
  /** `[1, 1, D]`. */
  readonly timeMaaR: Variable;
  readonly key: Linear;
  readonly receptance: Linear;
  readonly value: Linear;
  readonly causal = true;

  constructor(options: RwkvChannelMixerOptions) {
    ({
      key: this.key,
      receptance: this.receptance,
      value: this.value,
    } = makeMaps("Rwkv6ChannelMixer", options));
    const depth = { layer: options.layer ?? 0, layers: options.layers ?? 1 };
    this.timeMaaK = parameter(previousShare(options.dim, depth, 1, 0, options.key));
    this.timeMaaR = parameter(previousShare(options.dim, depth, 1, 0, options.key));
  }

  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#mix(x, previous(x, options.mask));
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    return { y: this.forward(x, options), state: { before: squeeze(lastReal(x, 1, options.mask), 1) } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    return { y: this.#mix(x, state["before"]!), state: { before: x } };
  }

  /** The last input. */
  stateBytes(): number {
    return 4 * this.timeMaaK.shape[2]!;
  }

  flops(time: number): number {
    return flopsOf(this, time);
  }

  #mix(x: Tensor, before: Tensor): Tensor {
    const change = sub(before, x);
    const mixed = (share: Variable): Tensor => add(x, mul(change, reshape(share.value, [-1])));
    return combine(this, mixed(this.timeMaaK), mixed(this.timeMaaR));
  }
}
