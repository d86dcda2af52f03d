// What the time mixers of RWKV 5 and 6 share: heads, the recurrence, a norm over each head and a gate.

import {
  add,
  broadcastTo,
  cast,
  checkOptions,
  exp,
  mul,
  neg,
  ones,
  random,
  reshape,
  silu,
  squeeze,
  sub,
  zeros,
  ConfigError,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { layerNorm } from "@everlong/kernels";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { GATED_FORMS, type GatedForm } from "./gated-linear-attention.ts";
import { needOneOf } from "./linear-attention.ts";
import { joinHeads, splitHeads } from "./heads.ts";
import { lastReal, previous, zeroPadding } from "./padding.ts";
import { checkDepth, presentBonus, type Depth } from "./rwkv-start.ts";
import { wide, wkv, wkvStep } from "./wkv.ts";

/** Scale and shift per channel after a norm over each head. */
export class HeadNorm {
  /** `[A]`. */
  readonly weight: Variable;
  /** `[A]`. */
  readonly bias: Variable;

  constructor(width: number, like: Tensor) {
    this.weight = parameter(ones([width], { device: like.device }), { weightDecay: 0 });
    this.bias = parameter(zeros([width], { device: like.device }), { weightDecay: 0 });
  }

  /** @param y `[B, T, H, V]` @returns `[B, T, H V]` */
  forward(y: Tensor, eps: number): Tensor {
    const normed = layerNorm(wide(y), undefined, undefined, { eps });
    const flat = joinHeads(normed);
    return cast(add(mul(flat, this.weight.value), this.bias.value), y.dtype);
  }
}

/** Receptance, key, value and gate `[B, T, A]`, and logarithms of decays `[B, T, A]` or `[A]`. */
export interface RwkvSignals {
  readonly r: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly gate: Tensor;
  readonly logDecay: Tensor;
}

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

const OPTIONS: readonly (keyof RwkvTimeMixerOptions)[] = [
  "key",
  "dim",
  "width",
  "headSize",
  "divisor",
  "layer",
  "layers",
  "form",
];

/** A time mixer of which versions differ in the signals that they make of a position and its predecessor. */
export abstract class RwkvTimeMixer implements Mixer {
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
  /** A: width of all heads. */
  readonly width: number;
  readonly heads: number;
  /** Of the norm. */
  readonly eps: number;
  readonly form: GatedForm;
  protected readonly depth: Depth;

  constructor(op: string, options: RwkvTimeMixerOptions) {
    checkOptions(op, options, OPTIONS);
    const { key, dim, width = dim, headSize = 16, divisor = 8, form = "auto" } = options;
    this.depth = { layer: options.layer ?? 0, layers: options.layers ?? 1 };
    checkDepth(op, this.depth);
    needOneOf(op, "form", form, GATED_FORMS);
    if (!Number.isInteger(headSize) || headSize < 1 || width % headSize !== 0)
      throw new ConfigError(op, "headSize does not divide the width", { got: `${headSize}, ${width}` });
    [this.dim, this.width, this.form, this.eps] = [dim, width, form, 1e-5 * divisor ** 2];
    this.heads = width / headSize;
    this.timeFaaaa = parameter(presentBonus(width, this.depth, [this.heads, headSize], key));
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

  abstract signals(x: Tensor, before: Tensor): RwkvSignals;

  /** `u` `[H, K]`: what the present counts more than its trace in the memory. */
  get bonus(): Variable {
    return this.timeFaaaa;
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#sequence(x, options).y;
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    const { y, last } = this.#sequence(x, options);
    return { y, state: { before: squeeze(lastReal(x, 1, options.mask), 1), memory: last() } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const { r, k, v, gate, logDecay } = this.signals(x, state["before"]!);
    const split = (t: Tensor): Tensor => splitHeads(t, this.heads);
    const { y, state: memory } = wkvStep(state["memory"]!, {
      r: split(r),
      k: split(k),
      v: split(v),
      logDecay: logDecay.rank === 1 ? reshape(logDecay, [1, this.heads, -1]) : split(logDecay),
      bonus: this.bonus.value,
    });
    return { y: this.#finish(y, gate), state: { before: x, memory } };
  }

  /** The matrices of the heads and the last input. */
  stateBytes(): number {
    return 4 * (this.dim + (this.width * this.width) / this.heads);
  }

  /** Of the recurrence and the five maps. */
  flops(time: number): number {
    const { dim, width, heads } = this;
    return time * (10 * dim * width + (5 * width * width) / heads + 12 * width);
  }

  #sequence(x: Tensor, { mask }: ForwardOptions): { y: Tensor; last: () => Tensor } {
    // Projections have no bias: zeros write nothing.
    const real = zeroPadding(x, mask);
    const { r, k, v, gate, logDecay } = this.signals(real, previous(real));
    const split = (t: Tensor): Tensor => splitHeads(t, this.heads);
    // The first padded position behind still sees its predecessor.
    const written = wkv(
      {
        r: split(r),
        k: zeroPadding(split(k), mask),
        v: split(v),
        logDecay: zeroPadding(split(broadcastTo(logDecay, k.shape)), mask),
        bonus: this.bonus.value,
      },
      this.form,
    );
    return { y: this.#finish(written.y, gate), last: written.last };
  }

  #finish(y: Tensor, gate: Tensor): Tensor {
    return this.output.forward(mul(this.lnX.forward(y, this.eps), cast(silu(wide(gate)), gate.dtype)));
  }
}

/** `x` where `share` is 1, its predecessor where it is 0. */
export const interpolate = (x: Tensor, before: Tensor, share: Tensor): Tensor =>
  add(mul(x, share), mul(before, sub(1, share)));

/** `-exp w`: the logarithm of a decay. */
export const logDecayOf = (w: Tensor): Tensor => neg(exp(wide(w)));

/** A row `[1, 1, D]` as `[D]`, which suits sequences and single positions. */
export const rowOf = (v: Variable): Tensor => reshape(v.value, [-1]);
