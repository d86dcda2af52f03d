// H3 with free long filters in the place of its state spaces (safari's H3Conv).

import {
  ConfigError,
  ShapeError,
  checkOptions,
  mul,
  permute,
  random,
  reshape,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { circularConv } from "../filters/circular-conv.ts";
import { LongKernel, type LongKernelSettings } from "../filters/long-kernel.ts";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import type { Mixer } from "../mixer.ts";
import { h3Product } from "./h3-product.ts";
import { zeroPadding } from "./padding.ts";

export interface H3ConvOptions {
  readonly key: Tensor;
  /** Width D. */
  readonly dim: number;
  /** Taps of both filters; inputs may be of any length. */
  readonly maxLength: number;
  /** Channels of a head, P; H = D / P. Default 1. */
  readonly headDim?: number;
  readonly filter?: LongKernelSettings;
  /**
   * The original's circular convolutions of period 2T: for inputs shorter than `maxLength`, taps beyond T act on the future.
   * Default false.
   */
  readonly compat?: boolean;
}

const OPTIONS = [
  "key",
  "dim",
  "maxLength",
  "headDim",
  "filter",
  "compat",
] as const satisfies readonly (keyof H3ConvOptions)[];

/**
 * `k' = a * k + d_k k`, then per head `y_b = sum_a q_a (c * (k'_a v_b) + d k'_a v_b)`, then the output map, with
 * `q, k, v` projections of the input and free filters `a` `[D, J]`, `c` `[H, J]` (Fu et al. 2023; Dao et al. 2022 for H3).
 */
export class H3Conv implements Mixer {
  /** `[D]`. */
  readonly keySkip: Variable;
  /** `[H]`. */
  readonly skip: Variable;
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly kKernel: LongKernel;
  readonly kernel: LongKernel;
  readonly outputLinear: Linear;
  readonly causal: boolean;
  readonly dim: number;
  readonly headDim: number;
  readonly heads: number;
  readonly maxLength: number;
  readonly #compat: boolean;

  constructor(options: H3ConvOptions) {
    checkOptions("H3Conv", options, OPTIONS);
    const { key, dim, maxLength, headDim = 1, filter = {}, compat = false } = options;
    if (!Number.isInteger(headDim) || headDim < 1 || dim % headDim !== 0)
      throw new ConfigError("H3Conv", "headDim must divide the width", { got: `${dim} / ${headDim}` });
    [this.dim, this.maxLength, this.headDim, this.heads] = [dim, maxLength, headDim, dim / headDim];
    this.#compat = compat;
    this.causal = !compat;
    const keys = random.splitKey(key, 8);
    const square = (i: number): Linear => new Linear({ key: keys[i]!, inputs: dim, outputs: dim });
    this.keySkip = parameter(gaussian(keys[0]!, [dim], 1));
    this.skip = parameter(gaussian(keys[1]!, [this.heads], 1));
    [this.qProj, this.kProj, this.vProj] = [square(2), square(3), square(4)];
    const taps = { sets: 1, taps: maxLength };
    this.kKernel = new LongKernel({ ...filter, ...taps, key: keys[5]!, channels: dim });
    this.kernel = new LongKernel({ ...filter, ...taps, key: keys[6]!, channels: this.heads });
    this.outputLinear = square(7);
  }

  /** @param x `[B, T, D]`, any T. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    if (x.rank !== 3 || x.shape[2] !== this.dim) {
      throw new ShapeError("H3Conv", "expected [B, T, D]", {
        expected: `[B, T, ${this.dim}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const { mask, key } = options;
    const masked = (t: Tensor): Tensor => zeroPadding(t, mask);
    const u = masked(x);
    const [q, k, v] = [this.qProj.forward(u), masked(this.kProj.forward(u)), masked(this.vProj.forward(u))];
    const taps = (kernel: LongKernel, site: number): Tensor => {
      const k3 = kernel.forward(key && random.foldIn(key, site));
      return permute(reshape(k3, [kernel.channels, kernel.taps]), [1, 0]);
    };
    const conv = (
      rows: Tensor,
      filter: Tensor,
      skip: Tensor,
      preGate?: Tensor,
      postGate?: Tensor,
    ): Tensor => {
      if (!this.#compat)
        return fftConv(rows, filter, {
          layout: "bld",
          skip,
          ...(preGate ? { preGate } : {}),
          ...(postGate ? { postGate } : {}),
        });
      const y = circularConv(preGate ? mul(rows, preGate) : rows, filter, skip, 2 * rows.shape[1]!);
      return postGate ? mul(y, postGate) : y;
    };
    const keys = masked(conv(k, taps(this.kKernel, 0), this.keySkip.value));
    const filter = taps(this.kernel, 1);
    const y = h3Product(q, keys, v, this.headDim, (rows, gates) =>
      conv(rows, filter, this.skip.value, gates?.preGate, gates?.postGate),
    );
    return this.outputLinear.forward(y);
  }

  /** Bytes of the inputs of both filters that an exact continuation needs. */
  stateBytes(time: number): number {
    return 4 * Math.min(time, this.maxLength - 1) * this.dim * (1 + this.headDim);
  }

  flops(time: number): number {
    const rows = this.dim * (1 + this.headDim);
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    const projections = 8 * time * this.dim * this.dim;
    return projections + rows * (3 * transform + 16 * time) + this.kKernel.flops() + this.kernel.flops();
  }
}
