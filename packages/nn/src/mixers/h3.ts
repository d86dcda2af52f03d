// H3, "Hungry Hungry Hippos" (Dao et al. 2022): two state spaces with products in between, for any head size.

import {
  Complex,
  ConfigError,
  ShapeError,
  add,
  checkOptions,
  mul,
  permute,
  random,
  reshape,
  sum,
  unsqueeze,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { chunkedSsm } from "../ssm/chunked-ssm.ts";
import { DiagonalSsm } from "../ssm/diagonal-ssm.ts";
import type { SsmSettings } from "../ssm/settings.ts";
import { ShiftSsm } from "../ssm/shift-ssm.ts";
import { h3Product } from "./h3-product.ts";
import { lastReal, zeroPadding } from "./padding.ts";

export interface H3Options {
  readonly key: Tensor;
  /** Width D. */
  readonly dim: number;
  /** Channels of a head, P; H = D / P. Default 1. */
  readonly headDim?: number;
  /** State size of both state spaces. Default 64. */
  readonly stateSize?: number;
  /** Longest kernel; steps know no such limit, so beyond it they differ, as in the original. Default: none. */
  readonly kernelLength?: number;
  /** Of the diagonal state space; its discretization is bilinear unless told otherwise. */
  readonly ssm?: Omit<SsmSettings, "stateSize">;
}

const OPTIONS = [
  "key",
  "dim",
  "headDim",
  "stateSize",
  "kernelLength",
  "ssm",
] as const satisfies readonly (keyof H3Options)[];

/**
 * `k' = shift(k) + d_k k`, then per head `y_b = sum_a q_a (diag(k'_a v_b) + d k'_a v_b)`, then the output map, with `q, k, v`
 * projections of the input, `shift` and `diag` the two state spaces. `[B, T, D]` to `[B, T, D]`.
 */
export class H3 implements Mixer {
  /** `[D]`. */
  readonly keySkip: Variable;
  /** `[H]`. */
  readonly skip: Variable;
  readonly qProj: Linear;
  readonly kProj: Linear;
  readonly vProj: Linear;
  readonly shift: ShiftSsm;
  readonly kernel: DiagonalSsm;
  readonly outputLinear: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly headDim: number;
  readonly heads: number;
  readonly stateSize: number;
  readonly kernelLength: number | undefined;

  constructor(options: H3Options) {
    checkOptions("H3", options, OPTIONS);
    const { key, dim, headDim = 1, stateSize = 64, ssm = {} } = options;
    if (!Number.isInteger(headDim) || headDim < 1 || dim % headDim !== 0)
      throw new ConfigError("H3", "headDim must divide the width", { got: `${dim} / ${headDim}` });
    [this.dim, this.headDim, this.heads, this.stateSize] = [dim, headDim, dim / headDim, stateSize];
    this.kernelLength = options.kernelLength;
    const keys = random.splitKey(key, 8);
    const square = (i: number): Linear => new Linear({ key: keys[i]!, inputs: dim, outputs: dim });
    this.keySkip = parameter(gaussian(keys[0]!, [dim], 1));
    this.skip = parameter(gaussian(keys[1]!, [this.heads], 1));
    [this.qProj, this.kProj, this.vProj] = [square(2), square(3), square(4)];
    const { learningRate } = ssm;
    const rate = learningRate === undefined ? {} : { learningRate };
    this.shift = new ShiftSsm({ key: keys[5]!, channels: dim, stateSize, ...rate });
    this.kernel = new DiagonalSsm({
      discretization: "bilinear",
      ...ssm,
      key: keys[6]!,
      channels: this.heads,
      stateSize,
      layout: "h3",
    });
    this.outputLinear = square(7);
  }

  /** @param x `[B, T, D]`, any T. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const { q, keys, v } = this.#keys(x, options.mask);
    const filter = permute(reshape(this.kernel.kernel(this.#taps(x)), [this.heads, -1]), [1, 0]);
    const y = h3Product(q, keys, v, this.headDim, (rows, gates) =>
      fftConv(rows, filter, { layout: "bld", skip: this.skip.value, ...gates }),
    );
    return this.outputLinear.forward(y);
  }

  prefill(x: Tensor, options: PrefillOptions): { readonly y: Tensor; readonly state: MixerState } {
    const { mask } = options;
    const { k, keys, v } = this.#keys(x, mask);
    const window = permute(lastReal(k, this.stateSize, mask), [0, 2, 1]);
    const [batch, time] = x.shape as [number, number, number];
    const pairs = this.headDim ** 2;
    const ordered = lastReal(this.#outer(keys, v, [batch, time]), time, mask);
    const rows = permute(reshape(ordered, [batch, time, pairs * this.heads]), [0, 2, 1]);
    const after = this.kernel.advance(reshape(rows, [batch * pairs, this.heads, time]));
    const shape = [batch, pairs, this.heads, this.kernel.modes];
    return {
      y: this.forward(x, options),
      state: {
        shift: this.shift.stateOf(window),
        re: reshape(after.re, shape),
        im: reshape(after.im, shape),
      },
    };
  }

  /** @param x `[B, D]` */
  step(x: Tensor, state: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    const batch = x.shape[0]!;
    const [q, k, v] = [this.qProj.forward(x), this.kProj.forward(x), this.vProj.forward(x)];
    const shifted = this.shift.step(k, state["shift"]!);
    const keys = add(shifted.y, mul(k, this.keySkip.value));
    const kv = this.#outer(keys, v, [batch]);
    const pairs = this.headDim ** 2;
    const rows = [batch * pairs, this.heads, this.kernel.modes];
    const before = new Complex(state["re"]!, state["im"]!).map((t) => reshape(t, rows));
    const next = this.kernel.step(reshape(kv, [batch * pairs, this.heads]), before);
    const wide = [batch, this.headDim, this.headDim, this.heads];
    const filtered = add(reshape(next.y, wide), mul(reshape(kv, wide), this.skip.value));
    const read = mul(filtered, unsqueeze(this.#byHead(q, [batch]), 2));
    const y = this.outputLinear.forward(reshape(sum(read, 1), [batch, this.dim]));
    const held = next.state.map((t) => reshape(t, [batch, pairs, ...rows.slice(1)]));
    return { y, state: { shift: shifted.state, re: held.re, im: held.im } };
  }

  /**
   * A part of a longer input, with what came before as `state`: forward over parts equals forward over the whole.
   * @param x `[B, T, D]`
   * @param state as {@link H3.prefill} gives it; default: nothing came before
   */
  chunk(x: Tensor, state?: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    const [batch, time] = x.shape as [number, number, number];
    const { q, k, keys: own, v } = this.#keys(x, undefined);
    const before = state?.["shift"];
    const owed = before && permute(this.shift.kernelOfState(before, time), [0, 2, 1]);
    const keys = owed ? add(own, owed) : own;
    const pairs = this.headDim ** 2;
    const shape = [batch, pairs, this.heads, this.kernel.modes];
    const flat = (t: Tensor): Tensor => reshape(t, [batch * pairs, this.heads, this.kernel.modes]);
    let after: Complex | undefined;
    const y = h3Product(q, keys, v, this.headDim, (rows, gates) => {
      const u = gates ? mul(rows, gates.preGate) : rows;
      const out = chunkedSsm(
        this.kernel,
        u,
        state ? { state: new Complex(flat(state["re"]!), flat(state["im"]!)) } : {},
      );
      after = out.state;
      const z = add(out.y, mul(u, this.skip.value));
      return gates ? mul(z, gates.postGate) : z;
    });
    const shift = this.shift.advance(permute(k, [0, 2, 1]), before);
    const { re, im } = after!.map((t) => reshape(t, shape));
    return { y: this.outputLinear.forward(y), state: { shift, re, im } };
  }

  /** Bytes of both states. */
  stateBytes(): number {
    return 4 * (this.dim * this.stateSize + 2 * this.dim * this.headDim * this.kernel.modes);
  }

  flops(time: number): number {
    const rows = this.dim * (1 + this.headDim);
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    const projections = 8 * time * this.dim * this.dim;
    return projections + rows * (3 * transform + 16 * time) + this.kernel.flops(time);
  }

  #taps(x: Tensor): number {
    return Math.min(x.shape[1]!, this.kernelLength ?? Number.POSITIVE_INFINITY);
  }

  /** Projections, and keys after the shift state space, zero where padded. */
  #keys(x: Tensor, mask: Tensor | undefined): { q: Tensor; k: Tensor; keys: Tensor; v: Tensor } {
    if (x.rank !== 3 || x.shape[2] !== this.dim) {
      throw new ShapeError("H3", "expected [B, T, D]", {
        expected: `[B, T, ${this.dim}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const masked = (t: Tensor): Tensor => zeroPadding(t, mask);
    const k = masked(this.kProj.forward(x));
    const v = masked(this.vProj.forward(x));
    const filter = permute(this.shift.kernel(this.#taps(x)), [1, 0]);
    const keys = masked(fftConv(k, filter, { layout: "bld", skip: this.keySkip.value }));
    return { q: masked(this.qProj.forward(x)), k, keys, v };
  }

  /** `[.., D]` as `[.., P, H]`. */
  #byHead(t: Tensor, lead: readonly number[]): Tensor {
    const rows = reshape(t, [...lead, this.heads, this.headDim]);
    return permute(rows, [...lead.keys(), lead.length + 1, lead.length]);
  }

  /** Products of every key with every value channel of its head: `[.., P P H]`. */
  #outer(keys: Tensor, v: Tensor, lead: readonly number[]): Tensor {
    const at = lead.length;
    const product = mul(unsqueeze(this.#byHead(keys, lead), at + 1), unsqueeze(this.#byHead(v, lead), at));
    return reshape(product, [...lead, this.headDim ** 2 * this.heads]);
  }
}
