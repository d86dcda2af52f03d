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
import { checkDepth, presentShare, previousShare, type Depth } from "../mixers/rwkv-start.ts";

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

/** What both versions share: `sigmoid(W_r z_r) * W_v relu(W_k z_k)^2`. */
abstract class RwkvChannelMixer implements ChannelMixer, Mixer {
  readonly key: Linear;
  readonly receptance: Linear;
  readonly value: Linear;
  readonly causal = true;
  readonly #dim: number;

  constructor(name: string, options: RwkvChannelMixerOptions) {
    checkOptions(name, options, OPTIONS);
    checkDepth(name, depthOf(options));
    const { key, dim, inner = 4 * dim } = options;
    const [a, b, c] = random.splitKey(key, 3) as [Tensor, Tensor, Tensor];
    this.key = new Linear({ key: a, inputs: dim, outputs: inner, bias: false });
    this.receptance = new Linear({ key: b, inputs: dim, outputs: dim, bias: false });
    this.value = new Linear({ key: c, inputs: inner, outputs: dim, bias: false });
    this.#dim = dim;
  }

  /** `z_k` and `z_r` of a position and its predecessor. */
  protected abstract between(x: Tensor, before: Tensor): { readonly k: Tensor; readonly r: Tensor };

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
    return 4 * this.#dim;
  }

  flops(time: number): number {
    const [inner, dim] = this.key.weight.shape as [number, number];
    return 2 * time * (2 * inner * dim + dim * dim);
  }

  #mix(x: Tensor, before: Tensor): Tensor {
    const { k, r } = this.between(x, before);
    const inner = square(relu(this.key.forward(k)));
    return mul(sigmoid(this.receptance.forward(r)), this.value.forward(inner));
  }
}

const depthOf = ({ layer = 0, layers = 1 }: RwkvChannelMixerOptions): Depth => ({ layer, layers });

/** `z = m x_t + (1 - m) x_(t-1)`, `y = sigmoid(W_r z_r) * W_v relu(W_k z_k)^2`. Names in the state are mad-lab's. */
export class Rwkv5ChannelMixer extends RwkvChannelMixer {
  /** `[1, 1, D]`. */
  readonly timeMixK: Variable;
  /** `[1, 1, D]`. */
  readonly timeMixR: Variable;

  constructor(options: RwkvChannelMixerOptions) {
    super("Rwkv5ChannelMixer", options);
    this.timeMixK = parameter(presentShare(options.dim, depthOf(options), 1, 0, options.key));
    this.timeMixR = parameter(presentShare(options.dim, depthOf(options), 1, 0, options.key));
  }

  protected between(x: Tensor, before: Tensor): { k: Tensor; r: Tensor } {
    const mixed = (share: Variable): Tensor => {
      const m = reshape(share.value, [-1]);
      return add(mul(x, m), mul(before, sub(1, m)));
    };
    return { k: mixed(this.timeMixK), r: mixed(this.timeMixR) };
  }
}

/** `z = x_t + a (x_(t-1) - x_t)`, the rest as {@link Rwkv5ChannelMixer}. Names in the state are mad-lab's. */
export class Rwkv6ChannelMixer extends RwkvChannelMixer {
  /** `[1, 1, D]`. */
  readonly timeMaaK: Variable;
  /** `[1, 1, D]`. */
  readonly timeMaaR: Variable;

  constructor(options: RwkvChannelMixerOptions) {
    super("Rwkv6ChannelMixer", options);
    this.timeMaaK = parameter(previousShare(options.dim, depthOf(options), 1, 0, options.key));
    this.timeMaaR = parameter(previousShare(options.dim, depthOf(options), 1, 0, options.key));
  }

  protected between(x: Tensor, before: Tensor): { k: Tensor; r: Tensor } {
    const change = sub(before, x);
    const mixed = (share: Variable): Tensor => add(x, mul(change, reshape(share.value, [-1])));
    return { k: mixed(this.timeMaaK), r: mixed(this.timeMaaR) };
  }
}
