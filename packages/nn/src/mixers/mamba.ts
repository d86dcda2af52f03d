// Mamba (Gu & Dao 2023, arXiv 2312.00752): a diagonal state-space recurrence with input-dependent steps.

import {
  ConfigError,
  add,
  checkOptions,
  exp,
  iota,
  log,
  expm1,
  mul,
  narrow,
  neg,
  ones,
  random,
  silu,
  softplus,
  split,
  squeeze,
  sum,
  unsqueeze,
  after,
  full,
  maximum,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { linear, selectiveScan } from "@everlong/kernels";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { appended, lastReal, zeroPadding } from "./padding.ts";

export interface MambaOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** States per channel N. Default 16. */
  readonly stateSize?: number;
  /** Taps of the short convolution. Default 4. */
  readonly convWidth?: number;
  /** Inner width over D. Default 2. */
  readonly expand?: number;
  /** Rank of the map to the steps; 0: D / 16, rounded up. Default 0. */
  readonly stepRank?: number;
  /** Range of the initial steps, drawn evenly in logarithm. Defaults 0.001, 0.1. */
  readonly minStep?: number;
  readonly maxStep?: number;
  /** Least initial step. Default 1e-4. */
  readonly stepFloor?: number;
  /** Scale of the initial map to the steps. Default 1. */
  readonly stepScale?: number;
  /** That map starts uniform ("random") or constant. Default "random". */
  readonly stepInit?: "random" | "constant";
  /** Default true. */
  readonly convBias?: boolean;
  /** Of the outer projections. Default false. */
  readonly bias?: boolean;
}

/**
 * With `[u, z] = W_in x`, `u <- silu(conv(u))`, `[d, B, C] = W_x u`, `D_t = softplus(W_d d + b)`:
 * `h_t = exp(D_t A) h_(t-1) + D_t B_t u_t`, `y_t = W_out ((C_t . h_t + D u_t) * silu(z_t))`, `A = -exp(A_log)` per channel and
 * state. Names in the state are mamba_ssm's in lower case.
 */
export class Mamba implements Mixer {
  readonly inProj: Linear;
  readonly conv1d: ShortConv;
  readonly xProj: Linear;
  readonly dtProj: Linear;
  /** `[C, N]`: log of -A, starting at log 1 .. log N. */
  readonly aLog: Variable;
  /** `[C]`: weight of the input itself. */
  readonly d: Variable;
  readonly outProj: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly inner: number;
  readonly stateSize: number;
  readonly stepRank: number;

  constructor(options: MambaOptions) {
    checkOptions("Mamba", options, [
      "key",
      "dim",
      "stateSize",
      "convWidth",
      "expand",
      "stepRank",
      "minStep",
      "maxStep",
      "stepFloor",
      "stepScale",
      "stepInit",
      "convBias",
      "bias",
    ]);
    const { key, dim, stateSize = 16, convWidth = 4, convBias = true, bias = false } = options;
    const { minStep = 1e-3, maxStep = 0.1, stepFloor = 1e-4, stepScale = 1, stepInit = "random" } = options;
    if (!(minStep > 0 && maxStep >= minStep)) {
      throw new ConfigError("Mamba", "steps need 0 < minStep <= maxStep", { got: `${minStep}, ${maxStep}` });
    }
    if (!Number.isInteger(stateSize) || stateSize < 1)
      throw new ConfigError("Mamba", "stateSize must be a positive integer", { got: `${stateSize}` });
    [this.dim, this.stateSize] = [dim, stateSize];
    this.inner = Math.trunc(dim * (options.expand ?? 2));
    this.stepRank = options.stepRank || Math.ceil(dim / 16);
    const keys = random.splitKey(key, 7);
    const { inner, stepRank } = this;
    this.inProj = new Linear({ key: keys[0]!, inputs: dim, outputs: 2 * inner, bias });
    this.conv1d = new ShortConv({ key: keys[1]!, channels: inner, width: convWidth, bias: convBias });
    this.xProj = new Linear({
      key: keys[2]!,
      inputs: inner,
      outputs: stepRank + 2 * stateSize,
      bias: false,
    });
    this.dtProj = new Linear({ key: keys[3]!, inputs: stepRank, outputs: inner, keepBias: true });
    const scale = stepScale * stepRank ** -0.5;
    const weight =
      stepInit === "constant"
        ? full([inner, stepRank], scale, { device: key.device })
        : random.uniform(keys[4]!, [inner, stepRank], { low: -scale, high: scale });
    this.dtProj.weight.value = after(weight, []);
    this.dtProj.bias!.value = after(initialStepBias(keys[5]!, inner, minStep, maxStep, stepFloor), []);
    const states = add(iota([inner, stateSize], 1, { device: key.device, dtype: weight.dtype }), 1);
    this.aLog = parameter(log(states), { weightDecay: 0 });
    this.d = parameter(ones([inner], { device: key.device }), { weightDecay: 0 });
    this.outProj = new Linear({ key: keys[6]!, inputs: inner, outputs: dim, bias });
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
    const [u, z] = split(this.inProj.forward(x), 2, -1) as [Tensor, Tensor];
    const { width } = this.conv1d;
    const window = appended(state["conv"]!, u);
    const convolved = squeeze(narrow(this.conv1d.forward(window), 1, width - 1, width), 1);
    const { input, logits, b, c } = this.#select(silu(convolved));
    const step = softplus(add(logits, this.dtProj.bias!.value));
    const decay = exp(mul(unsqueeze(step, -1), neg(exp(this.aLog.value))));
    const ssm = add(mul(decay, state["ssm"]!), mul(unsqueeze(mul(step, input), -1), unsqueeze(b, 1)));
    const read = add(sum(mul(ssm, unsqueeze(c, 1)), -1), mul(input, this.d.value));
    return {
      y: this.outProj.forward(mul(read, silu(z))),
      state: { conv: narrow(window, 1, 1, width), ssm },
    };
  }

  /** The recurrence's states and the inputs that the convolution still sees. */
  stateBytes(): number {
    return 4 * this.inner * (this.stateSize + this.conv1d.width - 1);
  }

  flops(time: number): number {
    const { inner, dim, stateSize, stepRank } = this;
    const weights = 3 * dim * inner + inner * (stepRank + 2 * stateSize) + inner * stepRank;
    return time * (2 * weights + 2 * inner * this.conv1d.width + 7 * inner * stateSize);
  }

  #run(x: Tensor, { mask }: ForwardOptions): { y: Tensor; u: Tensor; ssm: Tensor } {
    const [projected, z] = split(this.inProj.forward(x), 2, -1) as [Tensor, Tensor];
    const u = zeroPadding(projected, mask);
    const { input, logits, b, c } = this.#select(zeroPadding(silu(this.conv1d.forward(u)), mask));
    const a = neg(exp(this.aLog.value));
    const bias = this.dtProj.bias!.value;
    // A step of length 0 leaves the state as it is.
    const steps = mask
      ? { delta: zeroPadding(softplus(add(logits, bias)), mask), options: {} }
      : { delta: logits, options: { deltaBias: bias, deltaSoftplus: true } };
    const { y, state } = selectiveScan(input, steps.delta, a, b, c, {
      skip: this.d.value,
      gate: z,
      ...steps.options,
    });
    return { y: this.outProj.forward(y), u, ssm: state };
  }

  /** Step logits (without bias), input and output vectors of convolved inputs `[..., C]`. */
  #select(input: Tensor): { input: Tensor; logits: Tensor; b: Tensor; c: Tensor } {
    const { stepRank, stateSize } = this;
    const [low, b, c] = split(this.xProj.forward(input), [stepRank, stateSize, stateSize], -1) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    // The bias joins inside the kernel.
    return { input, logits: linear(low, this.dtProj.weight.value), b, c };
  }
}

/** What softplus turns into steps drawn evenly in logarithm: `log(exp(step) - 1)`. */
export function initialStepBias(
  key: Tensor,
  channels: number,
  least: number,
  most: number,
  floor: number,
): Tensor {
  const step = maximum(
    exp(random.uniform(key, [channels], { low: Math.log(least), high: Math.log(most) })),
    floor,
  );
  return add(step, log(neg(expm1(neg(step)))));
}
