// Retention (Sun et al. 2023, RetNet, arXiv 2307.08621): linear attention that forgets at a fixed rate per head.

import {
  ConfigError,
  add,
  broadcastTo,
  cast,
  checkOptions,
  iota,
  max,
  mul,
  random,
  squeeze,
  tensor,
  unsqueeze,
  where,
  type Tensor,
} from "@everlong/core";
import type { ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { Linear } from "../layers/linear.ts";
import { RMSNorm } from "../layers/norm.ts";
import { Rotary } from "../layers/rotary.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { needHeads, needOneOf } from "./linear-attention.ts";
import { joinHeads, splitHeads } from "./heads.ts";
import { zeroPadding } from "./padding.ts";
import {
  RECURRENCE_FORMS,
  scalarDecayAttention,
  scalarDecayStep,
  type RecurrenceForm,
} from "./scalar-decay.ts";

export interface RetentionOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Default 4. */
  readonly heads?: number;
  /** Width of all keys (values) over D. Defaults 1, 1. */
  readonly expandK?: number;
  readonly expandV?: number;
  /** Of the output gate. Default "silu". */
  readonly gate?: string;
  /** Queries and keys turn with position. Default true. */
  readonly rotary?: boolean;
  /** Of the norm of a head's output. Default 1e-5. */
  readonly eps?: number;
  /** Default "chunked". */
  readonly form?: RecurrenceForm;
}

/**
 * `S_t = gamma_h S_(t-1) + k_t v_t^T`, `o_t = S_t^T q_t / sqrt(K)`, `y_t = W_o (rms(o_t) * silu(W_g x_t))`, with
 * `gamma_h = 1 - 2^(-5-h)` for h = 0 .. H-1, rotary queries and keys, and the norm over each head.
 */
export class Retention implements Mixer {
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly gProj: Linear;
  readonly oProj: Linear;
  readonly gNorm: RMSNorm;
  readonly causal = true;
  readonly dim: number;
  readonly heads: number;
  readonly gate: ActivationName;
  readonly form: RecurrenceForm;
  readonly #rotary: Rotary | undefined;

  constructor(options: RetentionOptions) {
    checkOptions("Retention", options, [
      "key",
      "dim",
      "heads",
      "expandK",
      "expandV",
      "gate",
      "rotary",
      "eps",
      "form",
    ]);
    const { key, dim, heads = 4, rotary = true, form = "chunked" } = options;
    const keyWidth = Math.trunc(dim * (options.expandK ?? 1));
    const valueWidth = Math.trunc(dim * (options.expandV ?? 1));
    needHeads("Retention", keyWidth, valueWidth, heads);
    needOneOf("Retention", "form", form, RECURRENCE_FORMS);
    if (rotary && (keyWidth / heads) % 2 !== 0)
      throw new ConfigError("Retention", "rotary keys need an even size", { got: `${keyWidth / heads}` });
    [this.dim, this.heads, this.form] = [dim, heads, form];
    this.gate = activationName(options.gate ?? "silu");
    const keys = random.splitKey(key, 5);
    const linear = (i: number, inputs: number, outputs: number): Linear =>
      new Linear({ key: keys[i]!, inputs, outputs, bias: false });
    this.qProj = linear(0, dim, keyWidth);
    this.kProj = linear(1, dim, keyWidth);
    this.vProj = linear(2, dim, valueWidth);
    this.gProj = linear(3, dim, valueWidth);
    this.oProj = linear(4, valueWidth, dim);
    this.gNorm = new RMSNorm({ dim: valueWidth / heads, eps: options.eps ?? 1e-5, device: key.device });
    if (rotary) this.#rotary = new Rotary({ dim: keyWidth / heads });
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
    const { y, memory } = this.#attend(x, options);
    const [batch, time] = x.shape as [number, number, number];
    const positions = broadcastTo(options.positions ?? iota([time], 0, { device: x.device }), [batch, time]);
    const real = options.mask ? where(options.mask, positions, -1) : positions;
    return { y, state: { memory, position: add(max(real, 1), 1) } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const position = state["position"]!;
    const at = unsqueeze(x, 1);
    const { q, k, v } = this.#heads(at, unsqueeze(position, 1));
    const { y, state: memory } = scalarDecayStep(state["memory"]!, {
      q: squeeze(q, 1),
      k: squeeze(k, 1),
      v: squeeze(v, 1),
      g: broadcastTo(this.#logDecay(x), [x.shape[0]!, this.heads]),
    });
    return {
      y: squeeze(this.#finish(unsqueeze(y, 1), at), 1),
      state: { memory, position: add(position, 1) },
    };
  }

  stateBytes(): number {
    return 4 * this.heads * this.keySize * this.valueSize;
  }

  flops(time: number): number {
    const { heads, keySize, valueSize } = this;
    const weights = this.dim * heads * (2 * keySize + 3 * valueSize);
    return time * (2 * weights + 5 * heads * keySize * valueSize);
  }

  #logDecay(like: Tensor): Tensor {
    const rates = Float64Array.from({ length: this.heads }, (_, h) => Math.log1p(-(2 ** (-5 - h))));
    return cast(tensor(rates, [this.heads], { device: like.device }), like.dtype);
  }

  #heads(x: Tensor, positions: Tensor | undefined): { q: Tensor; k: Tensor; v: Tensor } {
    const split = (t: Tensor): Tensor => splitHeads(t, this.heads);
    const turn = (t: Tensor): Tensor => this.#rotary?.apply(t, { positions }) ?? t;
    return {
      q: turn(mul(split(this.qProj.forward(x)), this.keySize ** -0.5)),
      k: turn(split(this.kProj.forward(x))),
      v: split(this.vProj.forward(x)),
    };
  }

  #attend(x: Tensor, { mask, positions }: ForwardOptions): { y: Tensor; memory: Tensor } {
    const real = zeroPadding(x, mask);
    const { q, k, v } = this.#heads(real, positions);
    const shape = [...x.shape.slice(0, 2), this.heads];
    const decay = zeroPadding(broadcastTo(this.#logDecay(x), shape), mask);
    const { y, state } = scalarDecayAttention(q, k, v, decay, { form: this.form });
    return { y: this.#finish(y, real), memory: state };
  }

  /** @param o `[B, T, H, V]` */
  #finish(o: Tensor, x: Tensor): Tensor {
    const flat = joinHeads(this.gNorm.forward(o));
    return this.oProj.forward(mul(flat, activate(this.gate, this.gProj.forward(x))));
  }
}
