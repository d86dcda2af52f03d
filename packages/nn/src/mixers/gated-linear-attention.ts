// Gated linear attention (Yang et al. 2024, arXiv 2312.06635): linear attention whose state decays at rates that depend on
// the input.

import {
  ConfigError,
  after,
  checkOptions,
  div,
  exp,
  maximum,
  mul,
  neg,
  random,
  softplus,
  squeeze,
  unsqueeze,
  add,
  matmul,
  type Tensor,
} from "@everlong/core";
import { gatedLinearAttention } from "@everlong/kernels";
import { xavierUniform } from "../initial.ts";
import type { ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { Linear } from "../layers/linear.ts";
import { RMSNorm } from "../layers/norm.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { needHeads, needOneOf } from "./linear-attention.ts";
import { joinHeads, splitHeads } from "./heads.ts";
import { zeroPadding } from "./padding.ts";

export const GATED_FORMS = ["auto", "chunked"] as const;
/** How the same numbers are computed: by the device's kernel, or by products over chunks. */
export type GatedForm = (typeof GATED_FORMS)[number];

export interface GatedLinearAttentionMixerOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Default 1. */
  readonly heads?: number;
  /** Width of all keys (values) over D. Defaults 1, 1. */
  readonly expandK?: number;
  readonly expandV?: number;
  /** Of the output gate. Default "silu". */
  readonly gate?: string;
  /** Logarithms of decays are divided by it: the larger, the longer the memory at the start. Default 16. */
  readonly gateNormalizer?: number;
  /** Rank of the map to the decays. Default 16. */
  readonly gateRank?: number;
  /** Lower limit of the logarithms of decays. Default: none. */
  readonly minLogDecay?: number;
  /** Of the norm of a head's output. Default 1e-5. */
  readonly eps?: number;
  /** Default "auto". */
  readonly form?: GatedForm;
}

/**
 * `S_t = diag(exp g_t) S_(t-1) + k_t v_t^T`, `o_t = S_t^T q_t / sqrt(K)`, `g_t = log sigmoid(W2 W1 x_t + b) / 16` and
 * `y_t = W_o (rms(o_t) * silu(W_g x_t))`, the norm over each head. Names in the state are mad-lab's.
 */
export class GatedLinearAttention implements Mixer {
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly gProj: Linear;
  readonly gkProj: readonly [Linear, Linear];
  readonly oProj: Linear;
  readonly gNorm: RMSNorm;
  readonly causal = true;
  readonly dim: number;
  readonly heads: number;
  readonly gate: ActivationName;
  readonly gateNormalizer: number;
  readonly minLogDecay: number | undefined;
  readonly form: GatedForm;

  constructor(options: GatedLinearAttentionMixerOptions) {
    checkOptions("GatedLinearAttention", options, [
      "key",
      "dim",
      "heads",
      "expandK",
      "expandV",
      "gate",
      "gateNormalizer",
      "gateRank",
      "minLogDecay",
      "eps",
      "form",
    ]);
    const { key, dim, heads = 1, gateRank = 16, form = "auto", minLogDecay } = options;
    const keyWidth = Math.trunc(dim * (options.expandK ?? 1));
    const valueWidth = Math.trunc(dim * (options.expandV ?? 1));
    needHeads("GatedLinearAttention", keyWidth, valueWidth, heads);
    needOneOf("GatedLinearAttention", "form", form, GATED_FORMS);
    [this.dim, this.heads, this.form, this.minLogDecay] = [dim, heads, form, minLogDecay];
    this.gate = activationName(options.gate ?? "silu");
    this.gateNormalizer = options.gateNormalizer ?? 16;
    if (!(this.gateNormalizer > 0)) {
      throw new ConfigError("GatedLinearAttention", "gateNormalizer must be positive", {
        got: `${this.gateNormalizer}`,
      });
    }
    const keys = random.splitKey(key, 7);
    this.qProj = narrowStart(keys[0]!, dim, keyWidth);
    this.kProj = narrowStart(keys[1]!, dim, keyWidth);
    this.vProj = narrowStart(keys[2]!, dim, valueWidth);
    this.gProj = narrowStart(keys[3]!, dim, valueWidth);
    this.gkProj = [narrowStart(keys[4]!, dim, gateRank), narrowStart(keys[5]!, gateRank, keyWidth, true)];
    this.oProj = narrowStart(keys[6]!, valueWidth, dim);
    this.gNorm = new RMSNorm({ dim: valueWidth / heads, eps: options.eps ?? 1e-5, device: key.device });
  }

  get keySize(): number {
    return this.qProj.weight.shape[0]! / this.heads;
  }

  get valueSize(): number {
    return this.vProj.weight.shape[0]! / this.heads;
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#attend(x, options).y;
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    return this.#attend(x, options);
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const at = unsqueeze(x, 1);
    const { q, k, v, g } = this.#heads(at, undefined);
    const [qt, kt, vt, gt] = [squeeze(q, 1), squeeze(k, 1), squeeze(v, 1), squeeze(g, 1)];
    const memory = add(
      mul(state["memory"]!, unsqueeze(exp(gt), -1)),
      mul(unsqueeze(kt, -1), unsqueeze(vt, -2)),
    );
    const read = matmul(mul(unsqueeze(qt, -2), this.keySize ** -0.5), memory);
    const o = unsqueeze(squeeze(read, -2), 1);
    return { y: squeeze(this.#finish(o, at), 1), state: { memory } };
  }

  stateBytes(): number {
    return 4 * this.heads * this.keySize * this.valueSize;
  }

  flops(time: number): number {
    const { heads, keySize, valueSize } = this;
    const rank = this.gkProj[0].weight.shape[0]!;
    const weights = this.dim * heads * (2 * keySize + 3 * valueSize) + rank * (this.dim + heads * keySize);
    return time * (2 * weights + 5 * heads * keySize * valueSize);
  }

  #heads(x: Tensor, mask: Tensor | undefined): { q: Tensor; k: Tensor; v: Tensor; g: Tensor } {
    const split = (t: Tensor): Tensor => splitHeads(t, this.heads);
    const logits = this.gkProj[1].forward(this.gkProj[0].forward(x));
    let g = div(neg(softplus(neg(logits))), this.gateNormalizer);
    if (this.minLogDecay !== undefined) g = maximum(g, this.minLogDecay);
    return {
      q: split(this.qProj.forward(x)),
      k: split(this.kProj.forward(x)),
      v: split(this.vProj.forward(x)),
      g: split(zeroPadding(g, mask)),
    };
  }

  #attend(x: Tensor, { mask }: ForwardOptions): { y: Tensor; state: MixerState } {
    // Projections have no bias: zeros write nothing, and a masked decay forgets nothing.
    const real = zeroPadding(x, mask);
    const { q, k, v, g } = this.#heads(real, mask);
    const { y, state } = gatedLinearAttention(q, k, v, { logDecay: g, form: this.form });
    return { y: this.#finish(y, real), state: { memory: state } };
  }

  /** @param o `[B, T, H, V]` */
  #finish(o: Tensor, x: Tensor): Tensor {
    const flat = joinHeads(this.gNorm.forward(o));
    return this.oProj.forward(mul(flat, activate(this.gate, this.gProj.forward(x))));
  }
}

/** A linear map that starts small, as the authors' code draws it. */
function narrowStart(key: Tensor, inputs: number, outputs: number, bias = false): Linear {
  const layer = new Linear({ key, inputs, outputs, bias });
  layer.weight.value = after(xavierUniform(key, [outputs, inputs], 2 ** -2.5), []);
  return layer;
}
