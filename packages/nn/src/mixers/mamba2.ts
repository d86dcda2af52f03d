// Mamba 2 (Dao & Gu 2024, arXiv 2405.21060): a state space with one decay per head, which is attention under a decaying mask.

import {
  ConfigError,
  add,
  checkOptions,
  exp,
  mul,
  narrow,
  neg,
  ones,
  random,
  reshape,
  silu,
  softplus,
  split,
  squeeze,
  unsqueeze,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { rmsNorm } from "@everlong/kernels";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import { RMSNorm } from "../layers/norm.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { initialRates } from "./delta-net.ts";
import { needOneOf } from "./linear-attention.ts";
import { initialStepBias } from "./mamba.ts";
import { appended, lastReal, zeroPadding } from "./padding.ts";
import {
  RECURRENCE_FORMS,
  scalarDecayAttention,
  scalarDecayStep,
  type RecurrenceForm,
} from "./scalar-decay.ts";

export interface Mamba2Options {
  readonly key: Tensor;
  readonly dim: number;
  /** States per head N. Default 128. */
  readonly stateSize?: number;
  /** Channels of a head P. Default 64. */
  readonly headSize?: number;
  /** Groups of heads that share input and output vectors G. Default 1. */
  readonly groups?: number;
  /** Inner width over D. Default 2. */
  readonly expand?: number;
  /** Taps of the short convolution. Default 4. */
  readonly convWidth?: number;
  /** Range of the initial steps, drawn evenly in logarithm. Defaults 0.001, 0.1. */
  readonly minStep?: number;
  readonly maxStep?: number;
  /** Of the norm of a group's output. Default 1e-5. */
  readonly eps?: number;
  /** Default "chunked". */
  readonly form?: RecurrenceForm;
}

/**
 * With `[z, u, d] = W_in x` and `[v, B, C] = silu(conv(u))`, `D_t = softplus(d_t + b)`, per head:
 * `S_t = exp(-D_t exp(a)) S_(t-1) + D_t B_t v_t^T`, `o_t = S_t^T C_t + e v_t`, `y_t = W_out rms(o_t * silu(z_t))`, the norm over
 * each group of heads. Names in the state are mamba_ssm's in lower case.
 */
export class Mamba2 implements Mixer {
  readonly inProj: Linear;
  readonly conv1d: ShortConv;
  /** `[H]`: added to the steps. */
  readonly dtBias: Variable;
  /** `[H]`: logarithms of the decay rates. */
  readonly aLog: Variable;
  /** `[H]`: weight of the input itself. */
  readonly d: Variable;
  readonly norm: RMSNorm;
  readonly outProj: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly inner: number;
  readonly heads: number;
  readonly headSize: number;
  readonly groups: number;
  readonly stateSize: number;
  readonly form: RecurrenceForm;

  constructor(options: Mamba2Options) {
    checkOptions("Mamba2", options, [
      "key",
      "dim",
      "stateSize",
      "headSize",
      "groups",
      "expand",
      "convWidth",
      "minStep",
      "maxStep",
      "eps",
      "form",
    ]);
    const { key, dim, stateSize = 128, headSize = 64, groups = 1, form = "chunked" } = options;
    const { minStep = 1e-3, maxStep = 0.1, convWidth: width = 4 } = options;
    const inner = Math.trunc(dim * (options.expand ?? 2));
    const heads = inner / headSize;
    if (!Number.isInteger(heads) || heads < 1 || heads % groups !== 0) {
      throw new ConfigError("Mamba2", "heads must be whole and groups divide them", {
        got: `inner width ${inner}, head size ${headSize}, ${groups} groups`,
      });
    }
    if (!(minStep > 0 && maxStep >= minStep)) {
      throw new ConfigError("Mamba2", "steps need 0 < minStep <= maxStep", { got: `${minStep}, ${maxStep}` });
    }
    needOneOf("Mamba2", "form", form, RECURRENCE_FORMS);
    [this.dim, this.inner, this.heads, this.headSize] = [dim, inner, heads, headSize];
    [this.groups, this.stateSize, this.form] = [groups, stateSize, form];
    const keys = random.splitKey(key, 5) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const channels = inner + 2 * groups * stateSize;
    this.inProj = new Linear({ key: keys[0], inputs: dim, outputs: inner + channels + heads, bias: false });
    this.conv1d = new ShortConv({ key: keys[1], channels, width });
    this.dtBias = parameter(initialStepBias(keys[2], heads, minStep, maxStep, 1e-4), { weightDecay: 0 });
    this.aLog = parameter(initialRates(keys[3], heads), { weightDecay: 0 });
    this.d = parameter(ones([heads], { device: key.device }), { weightDecay: 0 });
    this.norm = new RMSNorm({ dim: inner, eps: options.eps ?? 1e-5, device: key.device });
    this.outProj = new Linear({ key: keys[4], inputs: inner, outputs: dim, bias: false });
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#run(x, options).y;
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    const { y, u, ssm } = this.#run(x, options);
    return { y, state: { conv: lastReal(u, this.conv1d.width - 1, options.mask), ssm } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const { width } = this.conv1d;
    const { z, u, d } = this.#project(x);
    const window = appended(state["conv"]!, u);
    const convolved = squeeze(narrow(this.conv1d.forward(window), 1, width - 1, width), 1);
    const { v, b, c } = this.#select(silu(convolved));
    const { step, g } = this.#steps(d);
    const { y, state: ssm } = scalarDecayStep(state["ssm"]!, {
      q: c,
      k: b,
      v: mul(v, unsqueeze(step, -1)),
      g,
    });
    return { y: this.#finish(y, v, z), state: { conv: narrow(window, 1, 1, width), ssm } };
  }

  /** The matrices of the heads and the inputs that the convolution still sees. */
  stateBytes(): number {
    const channels = this.inner + 2 * this.groups * this.stateSize;
    return 4 * (this.inner * this.stateSize + channels * (this.conv1d.width - 1));
  }

  flops(time: number): number {
    const { inner, dim, stateSize, heads } = this;
    const channels = inner + 2 * this.groups * stateSize;
    const weights = dim * (2 * inner + channels + heads) + channels * this.conv1d.width;
    return time * (2 * weights + 5 * inner * stateSize);
  }

  #project(x: Tensor): { z: Tensor; u: Tensor; d: Tensor } {
    const channels = this.inner + 2 * this.groups * this.stateSize;
    const parts = split(this.inProj.forward(x), [this.inner, channels, this.heads], -1);
    const [z, u, d] = parts as [Tensor, Tensor, Tensor];
    return { z, u, d };
  }

  #select(u: Tensor): { v: Tensor; b: Tensor; c: Tensor } {
    const { inner, heads, groups, stateSize } = this;
    const [v, b, c] = split(u, [inner, groups * stateSize, groups * stateSize], -1) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const lead = u.shape.slice(0, -1);
    return {
      v: reshape(v, [...lead, heads, -1]),
      b: reshape(b, [...lead, groups, -1]),
      c: reshape(c, [...lead, groups, -1]),
    };
  }

  /** Steps and logarithms of decays `[..., H]`. */
  #steps(d: Tensor): { step: Tensor; g: Tensor } {
    const step = softplus(add(d, this.dtBias.value));
    return { step, g: neg(mul(step, exp(this.aLog.value))) };
  }

  #run(x: Tensor, { mask }: ForwardOptions): { y: Tensor; u: Tensor; ssm: Tensor } {
    const { z, u: projected, d } = this.#project(zeroPadding(x, mask));
    const u = zeroPadding(projected, mask);
    const { v, b, c } = this.#select(zeroPadding(silu(this.conv1d.forward(u)), mask));
    const { step, g } = this.#steps(d);
    const { y, state } = scalarDecayAttention(c, b, mul(v, unsqueeze(step, -1)), zeroPadding(g, mask), {
      form: this.form,
    });
    return { y: this.#finish(y, v, z), u, ssm: state };
  }

  /** @param o `[..., H, P]`, as `v` */
  #finish(o: Tensor, v: Tensor, z: Tensor): Tensor {
    const skipped = add(o, mul(v, unsqueeze(this.d.value, -1)));
    const gated = mul(reshape(skipped, z.shape), silu(z));
    if (this.groups === 1) return this.outProj.forward(this.norm.forward(gated));
    const grouped = reshape(gated, [...z.shape.slice(0, -1), this.groups, -1]);
    const normed = reshape(rmsNorm(grouped, undefined, undefined, { eps: this.norm.eps }), z.shape);
    return this.outProj.forward(mul(normed, this.norm.weight.value));
  }
}
