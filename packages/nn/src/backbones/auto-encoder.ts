// mad-lab's auto-encoder: the sequence through one vector and back, for the compression task.

import {
  ConfigError,
  ShapeError,
  add,
  broadcastTo,
  cast,
  checkOptions,
  concat,
  div,
  equal,
  iota,
  lessEqual,
  maximum,
  mean,
  narrow,
  random,
  squeeze,
  sum,
  unsqueeze,
  where,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { embedding } from "@everlong/kernels";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Embedding } from "../layers/embedding.ts";
import { Linear } from "../layers/linear.ts";
import { compactPositions, pack, packing } from "../mixers/attention-padding.ts";
import { lastReal, zeroPadding } from "../mixers/padding.ts";
import { makeNorm, type LayerNorm, type NormName, type RMSNorm } from "../layers/norm.ts";
import { Block, resetLinears, type LayerSpec } from "./block.ts";
import { recomputes } from "./language-model.ts";
import { checkPositions, sineTable, type PositionKind, type TableMath } from "./position-table.ts";

export interface AutoEncoderOptions {
  readonly key: Tensor;
  readonly vocabSize: number;
  /** Width D. Default 128. */
  readonly dim?: number;
  /** Longest input, and the number of positions decoded. */
  readonly maxLength: number;
  /** Encoder layers in order. */
  readonly layers: readonly LayerSpec[];
  /** What stands for the sequence: its last position, an appended learned token, or the mean. Default "last". */
  readonly pool?: "last" | "cls" | "mean";
  /** Default "layer". */
  readonly norm?: NormName;
  /** Default 1e-5. */
  readonly normEps?: number;
  /** Added to the embeddings: nothing (default), a learned table, or sines. */
  readonly positions?: PositionKind;
  /** Default 0. */
  readonly embedDropout?: number;
  /** As in the language model. Default none. */
  readonly recompute?: boolean | readonly number[];
  /** How sine tables, the decoder's among them, are computed. Default float64. */
  readonly tableMath?: TableMath;
}

const OPTIONS = [
  "key",
  "vocabSize",
  "dim",
  "maxLength",
  "layers",
  "pool",
  "norm",
  "normEps",
  "positions",
  "embedDropout",
  "recompute",
  "tableMath",
] as const satisfies readonly (keyof AutoEncoderOptions)[];

/**
 * Token logits of every position from one encoding: `unembed(decoder(encoding + positions))`. Embeddings and all linear
 * weights start at N(0, 0.02), biases at 0, as in mad-lab.
 */
export class AutoEncoder {
  readonly embedding: Embedding;
  /** `[maxLength, D]`. */
  readonly positions: Variable | undefined;
  /** `[1, 1, D]`. */
  readonly clsToken: Variable | undefined;
  readonly layers: readonly Block[];
  readonly decoder: readonly [LayerNorm | RMSNorm, Linear, LayerNorm | RMSNorm, Linear];
  readonly norm: LayerNorm | RMSNorm;
  readonly head: Linear;
  readonly dim: number;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly pool: "last" | "cls" | "mean";
  readonly embedDropout: number;
  readonly #sines: Tensor | undefined;
  readonly #decoderPositions: Tensor;

  constructor(options: AutoEncoderOptions) {
    checkOptions("AutoEncoder", options, OPTIONS);
    const {
      key,
      vocabSize,
      dim = 128,
      maxLength,
      layers,
      pool = "last",
      norm = "layer",
      normEps: eps = 1e-5,
      positions = "none",
    } = options;
    checkPositions("AutoEncoder", positions);
    if (layers.length === 0) throw new ConfigError("AutoEncoder", "needs at least one layer");
    if (!POOLS.includes(pool))
      throw new ConfigError("AutoEncoder", `unknown pool "${pool}"`, { expected: POOLS.join(", ") });
    [this.dim, this.vocabSize, this.maxLength, this.pool] = [dim, vocabSize, maxLength, pool];
    this.embedDropout = checkRate("AutoEncoder", options.embedDropout ?? 0);
    const keys = random.splitKey(key, layers.length + 7);
    const makeLinear = (i: number, outputs: number): Linear =>
      new Linear({ key: keys[i]!, inputs: dim, outputs });
    const makeOneNorm = (): LayerNorm | RMSNorm => makeNorm(norm, { dim, eps, device: key.device });
    this.embedding = new Embedding({ key: keys[0]!, count: vocabSize, dim });
    if (positions === "learned") this.positions = parameter(gaussian(keys[1]!, [maxLength, dim], 0.02));
    if (positions === "sines") this.#sines = sineTable(maxLength, dim, key.device, options.tableMath);
    if (pool === "cls") this.clsToken = parameter(gaussian(keys[2]!, [1, 1, dim], 1));
    // The appended token lengthens what layers see.
    const length = pool === "cls" ? maxLength + 1 : maxLength;
    this.layers = layers.map(
      (spec, i) =>
        new Block({
          key: keys[7 + i]!,
          dim,
          maxLength: length,
          spec,
          norm,
          eps,
          recompute: recomputes(options.recompute, i),
        }),
    );
    this.decoder = [makeOneNorm(), makeLinear(3, dim), makeOneNorm(), makeLinear(4, dim)];
    this.norm = makeOneNorm();
    this.head = makeLinear(5, vocabSize);
    this.#decoderPositions = sineTable(maxLength, dim, key.device, options.tableMath);
    resetLinears(this, { key: keys[6]!, std: 0.02 });
  }

  /**
   * One vector `[B, D]` of token numbers `[B, T]` i32. With a mask, sequences may differ in length, padded on either side:
   * the vector does not depend on padding, and is zero where `last` or `mean` finds nothing real.
   */
  encode(ids: Tensor, options: ForwardOptions = {}): Tensor {
    const [batch, time] = ids.shape as [number, number];
    if (ids.rank !== 2 || time > this.maxLength) {
      throw new ShapeError("AutoEncoder", "expected ids [B, T]", {
        expected: `T up to ${this.maxLength}`,
        got: `[${ids.shape.join(", ")}]`,
      });
    }
    const { mask } = options;
    let x = this.embedding.forward(ids);
    const table = this.positions?.value ?? this.#sines;
    if (table) {
      const positions = options.positions ?? (mask && compactPositions(mask));
      x = add(x, positions ? embedding(table, positions) : narrow(table, 0, 0, time));
    }
    x = dropout(x, this.embedDropout, options.key, this.layers.length);
    let real = mask;
    if (this.clsToken) {
      const token = broadcastTo(this.clsToken.value, [batch, 1, this.dim]);
      const how = packing(mask);
      if (how) {
        // The token follows the last real position, so that no padding stands between them.
        const places = iota([batch, time + 1], 1, { device: x.device });
        const ends = unsqueeze(how.lengths, -1);
        x = where(unsqueeze(equal(places, ends), -1), token, concat([pack(x, how), token], 1));
        real = lessEqual(places, ends);
      } else x = concat([x, token], 1);
    }
    const inner: ForwardOptions = real ? { ...options, mask: real } : options;
    this.layers.forEach((block, i) => (x = block.forward(x, inner, i)));
    if (this.pool !== "mean") return squeeze(lastReal(x, 1, real), 1);
    if (!real) return mean(x, 1);
    const count = cast(maximum(sum(cast(real, "i32"), 1), 1), x.dtype);
    return div(sum(zeroPadding(x, real), 1), unsqueeze(count, -1));
  }

  /** Logits `[B, maxLength, N]` of encodings `[B, D]`. */
  decode(encoding: Tensor): Tensor {
    let x = add(unsqueeze(encoding, 1), this.#decoderPositions);
    const [norm1, linear1, norm2, linear2] = this.decoder;
    x = linear1.forward(norm1.forward(x), "gelu");
    x = linear2.forward(norm2.forward(x), "gelu");
    return this.head.forward(this.norm.forward(x));
  }

  /** Logits `[B, maxLength, N]` of token numbers `[B, T]` i32. */
  forward(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return this.decode(this.encode(ids, options));
  }
}

const POOLS = ["last", "cls", "mean"] as const;
