// DeltaNet (Yang et al. 2024, arXiv 2406.06484) and Gated DeltaNet (Yang et al. 2025, arXiv 2412.06464).

import {
  add,
  checkOptions,
  concat,
  exp,
  log,
  mul,
  narrow,
  neg,
  random,
  rsqrt,
  sigmoid,
  silu,
  softplus,
  split,
  square,
  squeeze,
  sum,
  unsqueeze,
  zerosLike,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import { RMSNorm } from "../layers/norm.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { deltaRule, deltaStep } from "./delta-rule.ts";
import { needHeads, needOneOf } from "./linear-attention.ts";
import { initialStepBias } from "./mamba.ts";
import { joinHeads, splitHeads } from "./heads.ts";
import { appended, lastReal, zeroPadding } from "./padding.ts";
import { RECURRENCE_FORMS, type RecurrenceForm } from "./scalar-decay.ts";

export interface DeltaNetOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Default 4. */
  readonly heads?: number;
  /** Width of all keys (values) over D. Defaults 1, 1. */
  readonly expandK?: number;
  readonly expandV?: number;
  /** The memory decays at an input-dependent rate per head. Default false. */
  readonly decay?: boolean;
  /** Outputs are gated by the input. Default false. */
  readonly gate?: boolean;
  /** Taps of the convolutions of queries, keys and values. Default 4. */
  readonly convWidth?: number;
  /** Write strengths up to 2: the memory may turn a direction round (Grazzi et al. 2024, arXiv 2411.12537). Default false. */
  readonly negativeEigenvalues?: boolean;
  /** Of the norm of a head's output. Default 1e-5. */
  readonly eps?: number;
  /** Default "chunked". */
  readonly form?: RecurrenceForm;
}

/** Added to squared lengths of queries and keys. */
const LENGTH_EPS = 1e-6;

/**
 * With q, k, v = silu(conv(W x)), q and k of unit length, `beta_t = sigmoid(W_b x_t)` and, gated,
 * `g_t = -exp(a) softplus(W_a x_t + b)`:
 * `S_t = exp(g_t) (I - beta_t k_t k_t^T) S_(t-1) + beta_t k_t v_t^T`, `o_t = S_t^T q_t / sqrt(K)`,
 * `y_t = W_o (rms(o_t) * silu(W_g x_t))`, the norm over each head. Names in the state are flash-linear-attention's in lower case.
 */
export class DeltaNet implements Mixer {
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly bProj: Linear;
  readonly aProj: Linear | undefined;
  /** `[H]`: logarithms of the decay rates. */
  readonly aLog: Variable | undefined;
  /** `[H]`. */
  readonly dtBias: Variable | undefined;
  readonly qConv1d: ShortConv;
  readonly kConv1d: ShortConv;
  readonly vConv1d: ShortConv;
  readonly gProj: Linear | undefined;
  readonly oNorm: RMSNorm;
  readonly oProj: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly heads: number;
  readonly form: RecurrenceForm;
  readonly #strength: number;

  constructor(options: DeltaNetOptions) {
    checkOptions("DeltaNet", options, [
      "key",
      "dim",
      "heads",
      "expandK",
      "expandV",
      "decay",
      "gate",
      "convWidth",
      "negativeEigenvalues",
      "eps",
      "form",
    ]);
    const { key, dim, heads = 4, convWidth: width = 4, form = "chunked" } = options;
    const keyWidth = Math.trunc(dim * (options.expandK ?? 1));
    const valueWidth = Math.trunc(dim * (options.expandV ?? 1));
    needHeads("DeltaNet", keyWidth, valueWidth, heads);
    needOneOf("DeltaNet", "form", form, RECURRENCE_FORMS);
    [this.dim, this.heads, this.form] = [dim, heads, form];
    this.#strength = options.negativeEigenvalues ? 2 : 1;
    const keys = random.splitKey(key, 12);
    const linear = (i: number, inputs: number, outputs: number): Linear =>
      new Linear({ key: keys[i]!, inputs, outputs, bias: false });
    this.qProj = linear(0, dim, keyWidth);
    this.kProj = linear(1, dim, keyWidth);
    this.vProj = linear(2, dim, valueWidth);
    this.bProj = linear(3, dim, heads);
    if (options.decay) {
      this.aProj = linear(4, dim, heads);
      this.aLog = parameter(initialRates(keys[5]!, heads), { weightDecay: 0 });
      this.dtBias = parameter(initialStepBias(keys[6]!, heads, 1e-3, 0.1, 1e-4), { weightDecay: 0 });
    }
    const conv = (i: number, channels: number): ShortConv =>
      new ShortConv({ key: keys[i]!, channels, width, bias: false });
    this.qConv1d = conv(7, keyWidth);
    this.kConv1d = conv(8, keyWidth);
    this.vConv1d = conv(9, valueWidth);
    if (options.gate) this.gProj = linear(10, dim, valueWidth);
    this.oNorm = new RMSNorm({ dim: valueWidth / heads, eps: options.eps ?? 1e-5, device: key.device });
    this.oProj = linear(11, valueWidth, dim);
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
    const { y, memory, raw } = this.#attend(x, options);
    return { y, state: { memory, tail: lastReal(raw, this.qConv1d.width - 1, options.mask) } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const at = unsqueeze(x, 1);
    const { width } = this.qConv1d;
    const window = appended(state["tail"]!, squeeze(this.#project(at), 1));
    const { q, k, v } = this.#heads(window);
    const last = (t: Tensor): Tensor => squeeze(narrow(t, 1, width - 1, width), 1);
    const { beta, g } = this.#rates(x);
    const { y, state: memory } = deltaStep(state["memory"]!, {
      q: last(q),
      k: last(k),
      v: last(v),
      beta,
      g: g ?? zerosLike(beta),
    });
    return {
      y: squeeze(this.#finish(unsqueeze(y, 1), at), 1),
      state: { memory, tail: narrow(window, 1, 1, width) },
    };
  }

  /** The matrices of the heads and the inputs that the convolutions still see. */
  stateBytes(): number {
    const { heads, keySize, valueSize } = this;
    return 4 * heads * (keySize * valueSize + (2 * keySize + valueSize) * (this.qConv1d.width - 1));
  }

  flops(time: number): number {
    const { dim, heads, keySize, valueSize } = this;
    const maps = dim * heads * (2 * keySize + 2 * valueSize + 1);
    const extra = dim * heads * ((this.gProj ? valueSize : 0) + (this.aProj ? 1 : 0));
    const convolutions = heads * (2 * keySize + valueSize) * this.qConv1d.width;
    return time * (2 * (maps + extra + convolutions) + 8 * heads * keySize * valueSize);
  }

  /** Queries, keys and values before their convolutions, side by side. */
  #project(x: Tensor): Tensor {
    return concat([this.qProj.forward(x), this.kProj.forward(x), this.vProj.forward(x)], -1);
  }

  #heads(raw: Tensor): { q: Tensor; k: Tensor; v: Tensor } {
    const { heads, keySize, valueSize } = this;
    const widths = [heads * keySize, heads * keySize, heads * valueSize];
    const [q, k, v] = split(raw, widths, -1) as [Tensor, Tensor, Tensor];
    const toHeads = (t: Tensor): Tensor => splitHeads(silu(t), heads);
    const unit = (t: Tensor): Tensor =>
      mul(t, rsqrt(add(sum(square(t), -1, { keepDims: true }), LENGTH_EPS)));
    return {
      q: mul(unit(toHeads(this.qConv1d.forward(q))), keySize ** -0.5),
      k: unit(toHeads(this.kConv1d.forward(k))),
      v: toHeads(this.vConv1d.forward(v)),
    };
  }

  /** Strengths of writing and logarithms of decays `[..., H]`. */
  #rates(x: Tensor): { beta: Tensor; g: Tensor | undefined } {
    const beta = mul(sigmoid(this.bProj.forward(x)), this.#strength);
    if (!this.aProj) return { beta, g: undefined };
    const step = softplus(add(this.aProj.forward(x), this.dtBias!.value));
    return { beta, g: neg(mul(step, exp(this.aLog!.value))) };
  }

  #attend(x: Tensor, { mask }: ForwardOptions): { y: Tensor; memory: Tensor; raw: Tensor } {
    const real = zeroPadding(x, mask);
    const raw = this.#project(real);
    const { q, k, v } = this.#heads(raw);
    const { beta, g } = this.#rates(real);
    // A strength of 0 writes nothing and takes nothing away.
    const { y, state } = deltaRule(q, k, v, zeroPadding(beta, mask), g && zeroPadding(g, mask), {
      form: this.form,
    });
    return { y: this.#finish(y, real), memory: state, raw };
  }

  /** @param o `[B, T, H, V]` */
  #finish(o: Tensor, x: Tensor): Tensor {
    const flat = joinHeads(this.oNorm.forward(o));
    return this.oProj.forward(this.gProj ? mul(flat, silu(this.gProj.forward(x))) : flat);
  }
}

/** Logarithms of rates drawn evenly from 1 to 16, as Mamba 2 starts. */
export const initialRates = (key: Tensor, heads: number): Tensor =>
  log(random.uniform(key, [heads], { low: 1, high: 16 }));
