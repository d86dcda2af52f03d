// The time mixer of RWKV 5 ("Eagle", Peng et al. 2024, arXiv 2404.05892, section 4).

import { checkOptions, random, reshape, type Tensor, type Variable } from "@everlong/core";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { GATED_FORMS, type GatedForm } from "./gated-linear-attention.ts";
import { needOneOf } from "./linear-attention.ts";
import { checkDepth, decaySpeed, presentBonus, presentShare } from "./rwkv-start.ts";
import {
  HeadNorm,
  interpolate,
  logDecayOf,
  mixPosition,
  mixSequence,
  prefillSequence,
  rowOf,
  rwkvFlops,
  rwkvHeads,
  rwkvStateBytes,
  type RwkvParts,
  type RwkvSignals,
} from "./rwkv-time-mixer.ts";

export interface RwkvTimeMixerOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Width of all heads; default D. */
  readonly width?: number;
  /** K. Default 16. */
  readonly headSize?: number;
  /** Outputs are scaled by 1/divisor before the norm over a head, which is the same as a larger eps. Default 8. */
  readonly divisor?: number;
  /** This layer's number, from 0, and how many there are: initial values depend on the depth. Defaults 0, 1. */
  readonly layer?: number;
  readonly layers?: number;
  /** Default "auto". */
  readonly form?: GatedForm;
}

export const RWKV_TIME_OPTIONS: readonly (keyof RwkvTimeMixerOptions)[] = [
  "key",
  "dim",
  "width",
  "headSize",
  "divisor",
  "layer",
  "layers",
  "form",
];

/**
 * With `z_c = m_c x_t + (1 - m_c) x_(t-1)` for c in r, k, v, g: `r, k, v, g = W_c z_c`,
 * `y_t = W_o (norm((S_(t-1) + diag(u) k_t v_t^T)^T r_t) * silu(g))`, `S_t = diag(exp(-exp w)) S_(t-1) + k_t v_t^T`, the norm over
 * each head. Names in the state are mad-lab's.
 */
export class Rwkv5TimeMixer implements Mixer, RwkvParts {
  readonly timeMixK: Variable;
  readonly timeMixV: Variable;
  readonly timeMixR: Variable;
  readonly timeMixG: Variable;
  /** `w` `[H, K]`. */
  readonly timeDecay: Variable;
  /** `u` `[H, K]`. */
  readonly timeFaaaa: Variable;
  readonly receptance: Linear;
  readonly key: Linear;
  readonly value: Linear;
  readonly output: Linear;
  readonly gate: Linear;
  readonly lnX: HeadNorm;
  readonly causal = true;
  readonly dim: number;
  readonly width: number;
  readonly heads: number;
  readonly eps: number;
  readonly form: GatedForm;

  constructor(options: RwkvTimeMixerOptions) {
    checkOptions("Rwkv5TimeMixer", options, RWKV_TIME_OPTIONS);
    const { key, dim, width = dim, headSize = 16, divisor = 8, form = "auto" } = options;
    const depth = { layer: options.layer ?? 0, layers: options.layers ?? 1 };
    checkDepth("Rwkv5TimeMixer", depth);
    needOneOf("Rwkv5TimeMixer", "form", form, GATED_FORMS);
    [this.dim, this.width, this.form, this.eps] = [dim, width, form, 1e-5 * divisor ** 2];
    this.heads = rwkvHeads("Rwkv5TimeMixer", width, headSize);
    const share = (power: number, raised: number): Variable =>
      parameter(presentShare(dim, depth, power, raised, key));
    this.timeMixK = share(1, 0);
    this.timeMixV = share(1, 0.3);
    this.timeMixR = share(0.5, 0);
    this.timeMixG = share(0.5, 0);
    const heads = [this.heads, headSize];
    this.timeDecay = parameter(decaySpeed(width, depth, heads, key));
    this.timeFaaaa = parameter(presentBonus(width, depth, heads, key));
    const keys = random.splitKey(key, 5);
    const linear = (i: number, inputs: number, outputs: number): Linear =>
      new Linear({ key: keys[i]!, inputs, outputs, bias: false });
    this.receptance = linear(0, dim, width);
    this.key = linear(1, dim, width);
    this.value = linear(2, dim, width);
    this.output = linear(3, width, dim);
    this.gate = linear(4, dim, width);
    this.lnX = new HeadNorm(width, key);
  }

  get bonus(): Variable {
    return this.timeFaaaa;
  }

  signals(x: Tensor, before: Tensor): RwkvSignals {
    const mixed = (share: Variable): Tensor => interpolate(x, before, rowOf(share));
    return {
      r: this.receptance.forward(mixed(this.timeMixR)),
      k: this.key.forward(mixed(this.timeMixK)),
      v: this.value.forward(mixed(this.timeMixV)),
      gate: this.gate.forward(mixed(this.timeMixG)),
      logDecay: reshape(logDecayOf(this.timeDecay.value), [-1]),
    };
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return mixSequence(this, x, options).y;
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    return prefillSequence(this, x, options);
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    return mixPosition(this, x, state);
  }

  /** The matrices of the heads and the last input. */
  stateBytes(): number {
    return rwkvStateBytes(this);
  }

  flops(time: number): number {
    return rwkvFlops(this, time);
  }
}
