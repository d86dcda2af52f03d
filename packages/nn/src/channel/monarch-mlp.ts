// The channel mixer of Monarch Mixer's BERT (Fu et al. 2023, arXiv 2310.12109, section 4): a gated linear unit whose maps are
// block diagonal, or dense ones.

import { checkOptions, mul, random, split, type Tensor } from "@everlong/core";
import type { ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { BlockDiagonalLinear } from "../layers/block-diagonal-linear.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import type { ChannelMixer } from "../mixer.ts";

export interface MonarchMlpOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Inner width. Default 4 D. */
  readonly inner?: number;
  /** Blocks of both maps; "dense" makes them plain matrices. Default 4. */
  readonly blocks?: number | "dense";
  /** Half of the inner map's outputs gates the other half. Default true. */
  readonly gated?: boolean;
  /** Default "gelu". */
  readonly activation?: string;
  /** Of inner values. Default 0. */
  readonly dropout?: number;
}

/** Map of the last axis with `blocks` blocks. */
const mapOf = (
  blocks: number | "dense",
  options: {
    readonly key: Tensor;
    readonly inputs: number;
    readonly outputs: number;
    readonly bias: boolean;
  },
): BlockDiagonalLinear | Linear =>
  blocks === "dense" ? new Linear(options) : new BlockDiagonalLinear({ ...options, blocks });

/** `W_o (act(a) * b) + c` with `[a, b] = W_g x`, or `W_o act(W_g x) + c`. Names in the state are m2's. */
export class MonarchMlp implements ChannelMixer {
  readonly gatedLayers: BlockDiagonalLinear | Linear;
  readonly wo: BlockDiagonalLinear | Linear;
  readonly activation: ActivationName;
  readonly gated: boolean;
  readonly dropout: number;

  constructor(options: MonarchMlpOptions) {
    checkOptions("MonarchMlp", options, ["key", "dim", "inner", "blocks", "gated", "activation", "dropout"]);
    const { key, dim, inner = 4 * dim, blocks = 4, gated = true } = options;
    const [a, b] = random.splitKey(key) as [Tensor, Tensor];
    const wide = gated ? 2 * inner : inner;
    this.gatedLayers = mapOf(blocks, { key: a, inputs: dim, outputs: wide, bias: false });
    this.wo = mapOf(blocks, { key: b, inputs: inner, outputs: dim, bias: true });
    this.activation = activationName(options.activation ?? "gelu");
    this.gated = gated;
    this.dropout = checkRate("MonarchMlp", options.dropout ?? 0);
  }

  /** Any leading axes. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const wide = this.gatedLayers.forward(x);
    const [gate, value] = this.gated ? split(wide, 2, -1) : [wide];
    const active = activate(this.activation, gate!);
    return this.wo.forward(dropout(value ? mul(active, value) : active, this.dropout, options.key, 0));
  }

  flops(time: number): number {
    return 2 * time * (this.gatedLayers.weight.value.size + this.wo.weight.value.size);
  }
}
