// S4ND (Nguyen et al. 2022): state spaces along each axis of images and videos, their outer product as kernel.

import {
  ConfigError,
  ShapeError,
  add,
  checkOptions,
  mul,
  narrow,
  ones,
  permute,
  random,
  reshape,
  sum,
  tile,
  unsqueeze,
  where,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { activate, activationName, isGated, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import { DiagonalSsm } from "../ssm/diagonal-ssm.ts";
import type { SsmSettings } from "../ssm/settings.ts";
import type { SsmKernel } from "../ssm/ssm-kernel.ts";
import { roundHalfEven } from "../ssm/rounding.ts";
import type { MakeSsm } from "./s4.ts";

export interface S4ndOptions {
  readonly key: Tensor;
  /** Width D. */
  readonly dim: number;
  /** Axes: 1 to 3, or more. Default 2. */
  readonly axes?: number;
  /** Kernels for each channel, C. Default 1. */
  readonly channels?: number;
  /** Kernels are means of this many outer products. Default 1. */
  readonly rank?: number;
  /** Maps all channels to this many in the convolution itself, without a skip. Default: each channel alone. */
  readonly outChannels?: number;
  /** Second kernels act on the other direction of every axis, from lag -1. Default true. */
  readonly bidirectional?: boolean;
  /** Longest kernel along each axis, at rate 1. Default: none. */
  readonly kernelLengths?: readonly (number | null)[];
  /** Convolution only, or followed by activation, dropout and output map. Default `convolution`. */
  readonly form?: "convolution" | "layer";
  /** Default gelu. */
  readonly activation?: string;
  /** After the output map. Default identity. */
  readonly outputActivation?: string;
  readonly dropout?: number;
  /** The same channels are dropped at all positions. Default false. */
  readonly tieDropout?: boolean;
  readonly ssm?: SsmSettings;
  /** The original's `contract_version: 1`, which does not sum over the rank: its outputs stay side by side. */
  readonly compat?: "unsummed-rank";
}

const OPTIONS = [
  "key",
  "dim",
  "axes",
  "channels",
  "rank",
  "outChannels",
  "bidirectional",
  "kernelLengths",
  "form",
  "activation",
  "outputActivation",
  "dropout",
  "tieDropout",
  "ssm",
  "compat",
] as const satisfies readonly (keyof S4ndOptions)[];

/**
 * `y_c = (1/R) sum_r (k_{r,c,1} x .. x k_{r,c,n}) * u + d_c u` for every channel, `k_{r,c,a}` the impulse response of a state
 * space along axis a: `[B, L_1, .., L_n, D]` to `[B, L_1, .., L_n, C D]`. The kernel of a rank being an outer product, it is
 * computed as one convolution after another, an axis each.
 */
export class S4nd {
  /** `[C, D]`. */
  readonly skip: Variable;
  /** One for each axis. */
  readonly kernel: readonly SsmKernel[];
  readonly outputLinear: Linear | undefined;
  readonly dim: number;
  readonly channels: number;
  readonly rank: number;
  readonly outChannels: number | undefined;
  readonly bidirectional: boolean;
  readonly activation: ActivationName;
  readonly outputActivation: ActivationName;
  readonly dropout: number;
  readonly #tie: boolean;
  readonly #lengths: readonly (number | null)[];
  readonly #sums: boolean;

  /** @param make default: diagonal state spaces */
  constructor(options: S4ndOptions, make?: MakeSsm) {
    checkOptions("S4nd", options, OPTIONS);
    const { key, dim, axes = 2, channels = 1, rank = 1, outChannels, form = "convolution" } = options;
    for (const [name, n] of Object.entries({ dim, axes, channels, rank, outChannels: outChannels ?? 1 })) {
      if (!Number.isInteger(n) || n < 1)
        throw new ConfigError("S4nd", `${name} must be a positive integer`, { got: `${n}` });
    }
    const lengths = options.kernelLengths ?? Array.from({ length: axes }, () => null);
    if (lengths.length !== axes)
      throw new ConfigError("S4nd", "one kernel length for each axis", {
        expected: `${axes}`,
        got: `${lengths.length}`,
      });
    if (form === "layer" && outChannels !== undefined)
      throw new ConfigError("S4nd", "outChannels leaves no room for an output map");
    [this.dim, this.channels, this.rank, this.outChannels] = [dim, channels, rank, outChannels];
    this.bidirectional = options.bidirectional ?? true;
    this.activation = activationName(options.activation ?? "gelu");
    this.outputActivation = activationName(options.outputActivation ?? "identity");
    this.dropout = checkRate("S4nd", options.dropout ?? 0);
    this.#tie = options.tieDropout ?? false;
    this.#lengths = lengths;
    this.#sums = options.compat !== "unsummed-rank";
    const keys = random.splitKey(key, axes + 2);
    this.skip = parameter(gaussian(keys[0]!, [channels, dim], 1));
    const outputs = channels * (outChannels ?? 1) * rank * (this.bidirectional ? 2 : 1);
    this.kernel = lengths.map((_, axis) => {
      const shape = { key: keys[axis + 2]!, channels: dim, outputs };
      return make ? make(shape) : new DiagonalSsm({ ...options.ssm, ...shape });
    });
    if (form === "convolution") return;
    const wide = isGated(this.outputActivation) ? 2 * dim : dim;
    this.outputLinear = new Linear({ key: keys[1]!, inputs: dim * channels, outputs: wide });
  }

  /**
   * @param x `[B, L_1, .., L_n, D]`, any lengths
   * @param options `mask` `[B, L_1, .., L_n]`
   * @param rate sampling rate of training over that of `x`: 0.5 for twice the resolution
   */
  forward(x: Tensor, options: Pick<ForwardOptions, "mask" | "key"> = {}, rate = 1): Tensor {
    const axes = this.kernel.length;
    if (x.rank !== axes + 2 || x.shape[axes + 1] !== this.dim) {
      throw new ShapeError("S4nd", `expected ${axes} axes and the channels last`, {
        expected: `[B, ${Array.from({ length: axes }, (_, a) => `L${a + 1}`).join(", ")}, ${this.dim}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const u = options.mask ? where(unsqueeze(options.mask, -1), x, 0) : x;
    const lead = u.shape.slice(0, -1);
    const sets = this.channels * (this.outChannels ?? 1) * this.rank;
    let y = sets === 1 ? u : tile(u, sets, axes + 1);
    for (let axis = 0; axis < axes; axis++) y = this.#along(y, axis, sets, rate);
    // Rank, then outputs, then channels, from the slowest.
    let kept = sets;
    if (this.rank > 1 && this.#sums) {
      kept = sets / this.rank;
      y = sum(reshape(y, [...lead, this.rank, kept * this.dim]), -2);
    }
    if (this.rank > 1) y = mul(y, this.#sums ? 1 / this.rank : 1);
    if (this.outChannels !== undefined) {
      const summed = sum(reshape(y, [...lead, this.outChannels, kept / this.outChannels, this.dim]), -1);
      y = reshape(permute(summed, [...lead.keys(), lead.length + 1, lead.length]), [...lead, kept]);
    } else {
      const wide = kept === 1 ? u : tile(u, kept, axes + 1);
      const skip = tile(this.skip.value, kept / this.channels, 0);
      y = add(y, mul(wide, reshape(skip, [kept * this.dim])));
    }
    if (!this.outputLinear) return y;
    let z = this.#drop(activate(this.activation, y), options.key);
    // The original's contraction of ranks that were not summed stretches a weight of one column over all of them.
    if (!this.#sums && this.dim * this.channels === 1) z = sum(z, -1, { keepDims: true });
    return activate(this.outputActivation, this.outputLinear.forward(z));
  }

  /** Operations of `forward` on one input of these lengths. */
  flops(lengths: readonly number[]): number {
    const positions = lengths.reduce((a, b) => a * b, 1);
    const rows = this.dim * this.channels * this.rank * (this.outChannels ?? 1);
    const along = lengths.map((n, a) => rows * positions * 15 * Math.log2(2 * n) + this.kernel[a]!.flops(n));
    const out = this.outputLinear ? 2 * positions * this.outputLinear.weight.value.size : 0;
    return along.reduce((a, b) => a + b, out);
  }

  /** Convolution along one axis of `[B, L_1, .., L_n, X D]`. */
  #along(y: Tensor, axis: number, sets: number, rate: number): Tensor {
    const at = axis + 1;
    const time = y.shape[at]!;
    const limit = this.#lengths[axis];
    const length = limit == null ? time : Math.min(time, roundHalfEven(limit / rate));
    const kernel = this.kernel[axis]!.kernel(length, rate);
    const rows = sets * this.dim;
    const side = (from: number): Tensor =>
      permute(reshape(narrow(kernel, 0, from, from + sets), [rows, length]), [1, 0]);
    const order = [...Array.from({ length: y.rank }).keys()].filter((a) => a !== at);
    // The axis goes just before the channels.
    order.splice(y.rank - 2, 0, at);
    const moved = permute(y, order);
    const flat = reshape(moved, [moved.size / (time * rows), time, rows]);
    const filtered = fftConv(flat, side(0), {
      layout: "bld",
      ...(this.bidirectional ? { mode: "two-sided", backward: side(sets), firstBackwardLag: -1 } : {}),
    });
    const back = order.map((_, i) => order.indexOf(i));
    return permute(reshape(filtered, moved.shape), back);
  }

  #drop(y: Tensor, key: Tensor | undefined): Tensor {
    if (!key || this.dropout === 0) return y;
    if (!this.#tie) return dropout(y, this.dropout, key, 0);
    const shape = y.shape.map((n, i) => (i === 0 || i === y.rank - 1 ? n : 1));
    return mul(y, dropout(ones(shape, { dtype: y.dtype, device: y.device }), this.dropout, key, 0));
  }
}
