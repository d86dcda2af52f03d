// Linear attention (Katharopoulos et al. 2020, arXiv 2006.16236) with a choice of feature maps.

import {
  ConfigError,
  abs,
  add,
  checkOptions,
  concat,
  div,
  iota,
  lessEqual,
  matmul,
  maximum,
  mul,
  narrow,
  onesLike,
  permute,
  random,
  squeeze,
  sum,
  transpose,
  unsqueeze,
  where,
  type Tensor,
} from "@everlong/core";
import { gatedLinearAttention } from "@everlong/kernels";
import type { ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { makeFeatureMap, type FeatureMap } from "./feature-map.ts";
import { joinHeads, splitHeads } from "./heads.ts";
import { zeroPadding } from "./padding.ts";

/**
 * Behaviour of mad-lab that differs from the papers:
 * - `signed-normalizer`: outputs are divided by `q . sum k` also where feature maps can make it 0 or negative.
 * - `negated-dpfp`: DPFP rectifies once and negates instead of rectifying both signs.
 */
export const LINEAR_ATTENTION_COMPAT = ["signed-normalizer", "negated-dpfp"] as const;
export type LinearAttentionCompat = (typeof LINEAR_ATTENTION_COMPAT)[number];

export const LINEAR_FORMS = ["auto", "chunked", "quadratic"] as const;
/** How the same numbers are computed: the device's kernel, products over chunks, or all pairs at once. */
export type LinearForm = (typeof LINEAR_FORMS)[number];

export interface LinearAttentionOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Default 1. */
  readonly heads?: number;
  /** See FEATURE_MAPS. Default "elementwise_product". */
  readonly featureMap?: string;
  /** Width of all queries over D. Default 1. */
  readonly expandK?: number;
  /** Width of all values over D. Default 1. */
  readonly expandV?: number;
  /** Queries and keys share a feature map. Default false. */
  readonly tieFeatureMaps?: boolean;
  /** Features of queries (keys) are divided by their sum. Default false. */
  readonly normQ?: boolean;
  readonly normK?: boolean;
  /** Added to the normaliser. Default 1e-12. */
  readonly eps?: number;
  /** Default "auto". */
  readonly form?: LinearForm;
  readonly compat?: readonly LinearAttentionCompat[];
}

/**
 * `y_t = S_t^T f(q_t) / n_t` with `S_t = S_(t-1) + f(k_t) v_t^T`, `z_t = z_(t-1) + f(k_t)` and, for feature maps whose inner
 * products are positive, `n_t = f(q_t) . z_t + eps`. Other maps have no such sum to divide by: `n_t = max(|f(q_t) . z_t|, 1)`,
 * the bound of mLSTM (Beck et al. 2024, arXiv 2405.04517). Names in the state are mad-lab's.
 */
export class LinearAttention implements Mixer {
  readonly projQ: Linear;
  readonly projK: Linear;
  readonly projV: Linear;
  readonly featureMapQ: FeatureMap;
  readonly featureMapK: FeatureMap;
  readonly outProj: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly heads: number;
  readonly eps: number;
  readonly form: LinearForm;
  readonly #normQ: boolean;
  readonly #normK: boolean;
  readonly #signed: boolean;

  constructor(options: LinearAttentionOptions) {
    checkOptions("LinearAttention", options, [
      "key",
      "dim",
      "heads",
      "featureMap",
      "expandK",
      "expandV",
      "tieFeatureMaps",
      "normQ",
      "normK",
      "eps",
      "form",
      "compat",
    ]);
    const { key, dim, heads = 1, featureMap = "elementwise_product", form = "auto", compat = [] } = options;
    const keyWidth = Math.trunc(dim * (options.expandK ?? 1));
    const valueWidth = Math.trunc(dim * (options.expandV ?? 1));
    needHeads("LinearAttention", keyWidth, valueWidth, heads);
    needOneOf("LinearAttention", "form", form, LINEAR_FORMS);
    for (const name of compat) needOneOf("LinearAttention", "compat", name, LINEAR_ATTENTION_COMPAT);
    [this.dim, this.heads, this.form, this.eps] = [dim, heads, form, options.eps ?? 1e-12];
    [this.#normQ, this.#normK] = [options.normQ ?? false, options.normK ?? false];
    const keys = random.splitKey(key, 6) as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
    const linear = (k: Tensor, inputs: number, outputs: number): Linear =>
      new Linear({ key: k, inputs, outputs, bias: false });
    this.projQ = linear(keys[0], dim, keyWidth);
    this.projK = linear(keys[1], dim, keyWidth);
    this.projV = linear(keys[2], dim, valueWidth);
    const negated = compat.includes("negated-dpfp");
    const map = (k: Tensor): FeatureMap => makeFeatureMap(featureMap, k, keyWidth / heads, negated);
    this.featureMapQ = map(keys[3]);
    this.featureMapK = options.tieFeatureMaps ? this.featureMapQ : map(keys[4]);
    this.#signed = compat.includes("signed-normalizer") || this.featureMapQ.positive;
    this.outProj = linear(keys[5], valueWidth, dim);
  }

  get valueSize(): number {
    return this.outProj.weight.shape[1]! / this.heads;
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#attend(x, options).y;
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    return this.#attend(x, options);
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const { q, k, v } = this.#features(unsqueeze(x, 1), undefined);
    const [qt, kt, vt] = [squeeze(q, 1), squeeze(k, 1), squeeze(v, 1)];
    const sums = add(state["sums"]!, mul(unsqueeze(kt, -1), unsqueeze(vt, -2)));
    const read = squeeze(matmul(unsqueeze(qt, -2), sums), -2);
    return { y: squeeze(this.#finish(unsqueeze(read, 1)), 1), state: { sums } };
  }

  /** The matrix of every head and its running sum of keys. */
  stateBytes(): number {
    return 4 * this.heads * this.featureMapQ.features * (this.valueSize + 1);
  }

  flops(time: number): number {
    const { features, products } = this.featureMapQ;
    const keyWidth = this.projQ.weight.shape[0]!;
    const projections = 2 * this.dim * (2 * keyWidth + 2 * this.valueSize * this.heads);
    return (
      time * (projections + 4 * this.heads * products + 4 * this.heads * features * (this.valueSize + 1))
    );
  }

  /** Features of queries and keys `[B, T, H, F]`, and values with a column of ones `[B, T, H, V + 1]`. */
  #features(x: Tensor, mask: Tensor | undefined): { q: Tensor; k: Tensor; v: Tensor } {
    const split = (t: Tensor): Tensor => splitHeads(t, this.heads);
    let q = this.featureMapQ.forward(split(this.projQ.forward(x)));
    let k = this.featureMapK.forward(split(this.projK.forward(x)));
    const bySum = (t: Tensor): Tensor => div(t, add(sum(t, -1, { keepDims: true }), 1e-4));
    if (this.#normQ) q = bySum(q);
    if (this.#normK) k = bySum(k);
    const v = split(this.projV.forward(x));
    return { q, k: zeroPadding(k, mask), v: concat([v, onesLike(narrow(v, -1, 0, 1))], -1) };
  }

  #attend(x: Tensor, { mask }: ForwardOptions): { y: Tensor; state: MixerState } {
    // Whatever stands at padded positions must stay finite times zero.
    const { q, k, v } = this.#features(zeroPadding(x, mask), mask);
    if (this.form === "quadratic") {
      const [read, sums] = quadratic(q, k, v);
      return { y: this.#finish(read), state: { sums } };
    }
    const { y, state } = gatedLinearAttention(q, k, v, { scale: 1, form: this.form });
    return { y: this.#finish(y), state: { sums: state } };
  }

  /** Divides what queries read `[B, T, H, V + 1]` by its last column. */
  #finish(read: Tensor): Tensor {
    const size = this.valueSize;
    const total = narrow(read, -1, size, size + 1);
    const y = div(narrow(read, -1, 0, size), this.#signed ? add(total, this.eps) : maximum(abs(total), 1));
    return this.outProj.forward(joinHeads(y));
  }
}

/** All pairs at once: what the other forms are checked against. */
function quadratic(q: Tensor, k: Tensor, v: Tensor): [Tensor, Tensor] {
  const time = q.shape[1]!;
  const headFirst = (t: Tensor): Tensor => permute(t, [0, 2, 1, 3]);
  const on = { device: q.device };
  const causal = lessEqual(iota([time, time], 1, on), iota([time, time], 0, on));
  const scores = where(causal, matmul(headFirst(q), transpose(headFirst(k))), 0);
  return [headFirst(matmul(scores, headFirst(v))), matmul(transpose(headFirst(k)), headFirst(v))];
}

/** @throws ConfigError unless the heads divide both widths. */
export function needHeads(layer: string, keyWidth: number, valueWidth: number, heads: number): void {
  if (!Number.isInteger(heads) || heads < 1 || keyWidth % heads !== 0 || valueWidth % heads !== 0) {
    throw new ConfigError(layer, "heads do not divide the widths of keys and values", {
      got: `${heads} heads, ${keyWidth} and ${valueWidth}`,
    });
  }
}

/** @throws ConfigError unless `value` is one of `allowed`. */
export function needOneOf(layer: string, what: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) {
    throw new ConfigError(layer, `unknown ${what} "${value}"`, { expected: allowed.join(", ") });
  }
}
