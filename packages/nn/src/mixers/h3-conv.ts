// H3 with free long filters in the place of its state spaces (safari's H3Conv).

import {
  ConfigError,
  ShapeError,
  checkOptions,
  mul,
  narrow,
  permute,
  random,
  squeeze,
  unsqueeze,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fftConv, type FftConvOptions } from "@everlong/kernels";
import { BlockFft, type BlockFftOptions } from "../filters/block-fft.ts";
import type { LongFilter, LongFilterLayer } from "../distillation/distill.ts";
import { modalBytes, type ModalRecurrence } from "../distillation/modal-recurrence.ts";
import { circularConv } from "../filters/circular-conv.ts";
import { LongKernel, type LongKernelSettings } from "../filters/long-kernel.ts";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import { CarriedConvs } from "../filters/carried-convs.ts";
import { OnlineConvs } from "../filters/online-convs.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { h3Product } from "./h3-product.ts";
import { lastReal, zeroPadding } from "./padding.ts";

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
  /** Convolves through a {@link BlockFft}. With learned matrices the layer is not causal. Default: the FFT. */
  readonly blockFft?: Omit<BlockFftOptions, "key">;
}

const OPTIONS = [
  "key",
  "dim",
  "maxLength",
  "headDim",
  "filter",
  "compat",
  "blockFft",
] as const satisfies readonly (keyof H3ConvOptions)[];

/**
 * `k' = a * k + d_k k`, then per head `y_b = sum_a q_a (c * (k'_a v_b) + d k'_a v_b)`, then the output map, with
 * `q, k, v` projections of the input and free filters `a` `[D, J]`, `c` `[H, J]` (Fu et al. 2023; Dao et al. 2022 for H3).
 */
export class H3Conv implements Mixer, LongFilterLayer {
  /** Recurrences in place of the filters during generation; see {@link distill}. */
  modal: readonly ModalRecurrence[] | undefined;
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
  readonly transform: BlockFft | undefined;
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
    if (options.blockFft) {
      if (compat) throw new ConfigError("H3Conv", "blockFft and compat exclude each other");
      this.transform = new BlockFft({ ...options.blockFft, key: random.foldIn(options.key, 7) });
      // nothing ties learned matrices to the past
      this.causal &&= !this.transform.learned;
    }
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
    return this.#run(x, options).y;
  }

  /** @throws ConfigError with `compat` */
  prefill(x: Tensor, options: PrefillOptions): { readonly y: Tensor; readonly state: MixerState } {
    this.#needSteps();
    const { mask, capacity } = options;
    const { y, k, keys, v } = this.#run(x, options);
    const last = (t: Tensor): Tensor => lastReal(t, x.shape[1]!, mask);
    const pairs: Tensor[] = [];
    const [ordered, values] = [last(keys), last(v)];
    h3Product(ordered, ordered, values, this.headDim, (rows, gates) => {
      pairs.push(gates ? mul(rows, gates.preGate) : rows);
      return rows;
    });
    const convs = [
      { inputs: last(k), taps: this.#taps(this.kKernel), skip: this.keySkip.value },
      { inputs: pairs[0]!, taps: this.#taps(this.kernel), skip: this.skip.value },
    ];
    return { y, state: OnlineConvs.start("H3Conv", convs, { capacity, modal: this.modal }) };
  }

  /** @param x `[B, D]` */
  step(x: Tensor, state: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    this.#needSteps();
    const u = unsqueeze(x, 1);
    const convs = new OnlineConvs(state, this.modal);
    const now = (t: Tensor): Tensor => unsqueeze(convs.next(squeeze(t, 1)), 1);
    const keys = now(this.kProj.forward(u));
    const y = h3Product(this.qProj.forward(u), keys, this.vProj.forward(u), this.headDim, (rows, gates) =>
      gates ? mul(now(mul(rows, gates.preGate)), gates.postGate) : now(rows),
    );
    return { y: squeeze(this.outputLinear.forward(y), 1), state: convs.state };
  }

  /**
   * A part of a longer input, with what came before as `state`: forward over parts equals forward over the whole.
   * @param x `[B, T, D]`
   * @throws ConfigError with `compat`
   */
  chunk(x: Tensor, state?: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    this.#needSteps();
    const convs = new CarriedConvs(state);
    const keys = convs.next(this.kProj.forward(x), this.#taps(this.kKernel), this.keySkip.value);
    const conv = (u: Tensor): Tensor => convs.next(u, this.#taps(this.kernel), this.skip.value);
    const y = h3Product(this.qProj.forward(x), keys, this.vProj.forward(x), this.headDim, (rows, gates) =>
      gates ? mul(conv(mul(rows, gates.preGate)), gates.postGate) : conv(rows),
    );
    return { y: this.outputLinear.forward(y), state: convs.state };
  }

  /** The keys' filter and the products'. @throws ConfigError with `compat` */
  longFilters(length: number): readonly LongFilter[] {
    this.#needSteps();
    const first = (taps: Tensor): Tensor => narrow(taps, 0, 0, Math.min(length, this.maxLength));
    return [
      { taps: first(this.#taps(this.kKernel)), skip: this.keySkip.value },
      { taps: first(this.#taps(this.kernel)), skip: this.skip.value },
    ];
  }

  #needSteps(): void {
    if (this.causal) return;
    throw new ConfigError("H3Conv", "this layer cannot be run one position at a time", {
      got: this.#compat ? "compat" : "learned matrices",
      hint: "Use forward.",
    });
  }

  /** Taps `[J, C]`. */
  #taps(kernel: LongKernel, key?: Tensor): Tensor {
    // The original's smoothing in frequency drops the last tap of an odd number.
    return permute(squeeze(kernel.forward(key), 0), [1, 0]);
  }

  /** The output, and keys before and after their filter and values, zero where padded. */
  #run(x: Tensor, options: ForwardOptions): { y: Tensor; k: Tensor; keys: Tensor; v: Tensor } {
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
    const conv = (
      rows: Tensor,
      filter: Tensor,
      skip: Tensor,
      preGate?: Tensor,
      postGate?: Tensor,
    ): Tensor => {
      if (!this.#compat) {
        const how: FftConvOptions = {
          layout: "bld",
          skip,
          ...(preGate ? { preGate } : {}),
          ...(postGate ? { postGate } : {}),
        };
        return this.transform ? this.transform.conv(rows, filter, how) : fftConv(rows, filter, how);
      }
      const y = circularConv(preGate ? mul(rows, preGate) : rows, filter, skip, 2 * rows.shape[1]!);
      return postGate ? mul(y, postGate) : y;
    };
    const site = (i: number): Tensor | undefined => key && random.foldIn(key, i);
    const keys = masked(conv(k, this.#taps(this.kKernel, site(0)), this.keySkip.value));
    const filter = this.#taps(this.kernel, site(1));
    const y = h3Product(q, keys, v, this.headDim, (rows, gates) =>
      conv(rows, filter, this.skip.value, gates?.preGate, gates?.postGate),
    );
    return { y: this.outputLinear.forward(y), k, keys, v };
  }

  /** Bytes of the slots of both filters. */
  stateBytes(time: number): number {
    if (!this.modal) return 4 * time * this.dim * (1 + this.headDim);
    return modalBytes(this.modal[0]!) + modalBytes(this.modal[1]!, this.headDim ** 2);
  }

  flops(time: number): number {
    const rows = this.dim * (1 + this.headDim);
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    const projections = 8 * time * this.dim * this.dim;
    return projections + rows * (3 * transform + 16 * time) + this.kKernel.flops() + this.kernel.flops();
  }
}
