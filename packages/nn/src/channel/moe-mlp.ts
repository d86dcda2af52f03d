// Mixture of experts over channels (Shazeer et al. 2017, arXiv 1701.06538), each expert a gated linear unit.

import {
  checkOptions,
  einsum,
  mul,
  random,
  reshape,
  sum,
  unsqueeze,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fanInUniform } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import type { ChannelMixer } from "../mixer.ts";
import { needOneOf } from "../mixers/linear-attention.ts";
import { checkExperts, expertWeights, makeRouter } from "./router.ts";

/**
 * Behaviour of mad-lab that differs from a mixture of experts:
 * - `soft-unselected`: experts outside the best keep weight, as if their score were 0.
 * - `shared-down`: one dense map from the inner units of all experts to the outputs of all experts, so that no expert
 *   stands by itself.
 */
export const MOE_COMPAT = ["soft-unselected", "shared-down"] as const;
export type MoeCompat = (typeof MOE_COMPAT)[number];

export interface MoeMlpOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Inner width of an expert F. Default D. */
  readonly inner?: number;
  /** E. Default 8. */
  readonly experts?: number;
  /** Experts that count at a position. Default 2. */
  readonly active?: number;
  /** Of the gate. Default "gelu-tanh". */
  readonly activation?: string;
  /** Of the expert's maps. Default true. */
  readonly bias?: boolean;
  /** Of values, gates and results. Default 0. */
  readonly dropout?: number;
  readonly compat?: readonly MoeCompat[];
}

/**
 * `sum_e p_e W_e (U_e x * act(G_e x))` with `p` a softmax over the `active` best of the scores `R x`. Every expert is
 * computed: the sum is exact and its cost does not depend on the choice. Names in the state are mad-lab's.
 */
export class MoeMlp implements ChannelMixer {
  /** `[E F, D]`: values of all experts. */
  readonly up1: Linear;
  /** `[E F, D]`: gates of all experts. */
  readonly up2: Linear;
  /** With `shared-down`: `[D E, E F]`, the expert's number running fastest in its outputs. */
  readonly down1: Linear | undefined;
  /** `[E, D, F]`. */
  readonly down: Variable | undefined;
  /** `[E, D]`. */
  readonly downBias: Variable | undefined;
  readonly router: Linear;
  readonly dim: number;
  readonly inner: number;
  readonly experts: number;
  readonly active: number;
  readonly activation: ActivationName;
  readonly dropout: number;
  readonly #soft: boolean;

  constructor(options: MoeMlpOptions) {
    checkOptions("MoeMlp", options, [
      "key",
      "dim",
      "inner",
      "experts",
      "active",
      "activation",
      "bias",
      "dropout",
      "compat",
    ]);
    const { key, dim, inner = dim, experts = 8, active = 2, bias = true, compat = [] } = options;
    checkExperts("MoeMlp", experts, active);
    for (const name of compat) needOneOf("MoeMlp", "compat", name, MOE_COMPAT);
    [this.dim, this.inner, this.experts, this.active] = [dim, inner, experts, active];
    this.activation = activationName(options.activation ?? "gelu-tanh");
    this.dropout = checkRate("MoeMlp", options.dropout ?? 0);
    this.#soft = compat.includes("soft-unselected");
    const keys = random.splitKey(key, 5);
    this.up1 = new Linear({ key: keys[0]!, inputs: dim, outputs: inner * experts, bias });
    this.up2 = new Linear({ key: keys[1]!, inputs: dim, outputs: inner * experts, bias });
    if (compat.includes("shared-down")) {
      this.down1 = new Linear({ key: keys[2]!, inputs: inner * experts, outputs: dim * experts, bias });
    } else {
      this.down = parameter(fanInUniform(keys[2]!, [experts, dim, inner], inner));
      if (bias) this.downBias = parameter(fanInUniform(keys[4]!, [experts, dim], inner));
    }
    this.router = makeRouter(keys[3]!, dim, experts);
  }

  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const drop = (t: Tensor, site: number): Tensor => dropout(t, this.dropout, options.key, site);
    const gate = drop(activate(this.activation, this.up2.forward(x)), 1);
    const hidden = mul(drop(this.up1.forward(x), 0), gate);
    const weights = expertWeights(this.router.forward(x), this.active, this.#soft);
    const lead = x.shape.slice(0, -1);
    if (this.down1) {
      const all = reshape(drop(this.down1.forward(hidden), 2), [...lead, this.dim, this.experts]);
      return sum(mul(all, unsqueeze(weights, -2)), -1);
    }
    // The weights go in front of the last map, which then is one product over all experts.
    const scaled = mul(
      reshape(hidden, [-1, this.experts, this.inner]),
      reshape(weights, [-1, this.experts, 1]),
    );
    let y = einsum("nef,edf->nd", scaled, this.down!.value);
    if (this.downBias) y = y.add(reshape(weights, [-1, this.experts]).matmul(this.downBias.value));
    return drop(reshape(y, [...lead, this.dim]), 2);
  }

  flops(time: number): number {
    const { dim, inner, experts } = this;
    const down = this.down1 ? inner * experts * dim * experts : inner * experts * dim;
    return 2 * time * (2 * dim * inner * experts + down + dim * experts);
  }
}
