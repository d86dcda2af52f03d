// Monarch Mixer's BERT (Fu et al. 2023, arXiv 2310.12109, section 4): an encoder for masked tokens without attention.

import {
  ConfigError,
  ShapeError,
  add,
  checkOptions,
  narrow,
  random,
  zeros,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { linear } from "@everlong/kernels";
import { MonarchMlp } from "../channel/monarch-mlp.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Embedding } from "../layers/embedding.ts";
import { Linear } from "../layers/linear.ts";
import { LayerNorm } from "../layers/norm.ts";
import { compactPositions } from "../mixers/attention-padding.ts";
import type { HyenaFilterSettings } from "../mixers/hyena-filter.ts";
import { MonarchMixer } from "../mixers/monarch-mixer.ts";

export interface MonarchBertOptions {
  readonly key: Tensor;
  readonly vocabSize: number;
  /** Width D. Default 768. */
  readonly dim?: number;
  /** Longest input. Default 128. */
  readonly maxLength?: number;
  /** Default 12. */
  readonly layers?: number;
  /** Inner width of the channel mixers. Default 4 D. */
  readonly inner?: number;
  /** Blocks of their maps; "dense" makes them plain matrices. Default 4. */
  readonly blocks?: number | "dense";
  /** Channel mixers are gated linear units. Default true. */
  readonly gated?: boolean;
  /** The token of padding, whose embedding lookups do not train. Default none. */
  readonly paddingToken?: number;
  /** Kinds of segments, of which tokens are 0 unless told. Default 2. */
  readonly segments?: number;
  /** A learned table of positions. Default true. */
  readonly positions?: boolean;
  readonly bidirectional?: boolean;
  readonly residualConv?: boolean;
  readonly inputNorm?: boolean;
  readonly filter?: HyenaFilterSettings;
  /** Of embeddings, inner values and, with `inputNorm`, mixers. Default 0. */
  readonly dropout?: number;
  /** Of all norms but the head's. Default 1e-12. */
  readonly normEps?: number;
  /** Between the head's maps. Default gelu. */
  readonly headActivation?: ActivationName;
}

export interface BertForwardOptions extends ForwardOptions {
  /** Segment of every token `[B, T]` i32. Default 0. */
  readonly segments?: Tensor;
}

/** `z = mixer(x)`, `y = norm(z + W_o (gelu(a) * b))`: the residual of the input is the mixer's second convolution. */
class BertLayer {
  readonly attention: MonarchMixer;
  readonly mlp: MonarchMlp & { readonly layernorm: LayerNorm };

  constructor(mixer: MonarchMixer, mlp: MonarchMlp, norm: LayerNorm) {
    this.attention = mixer;
    this.mlp = Object.assign(mlp, { layernorm: norm });
  }

  forward(x: Tensor, options: ForwardOptions): Tensor {
    const mixed = this.attention.forward(x, options);
    return this.mlp.layernorm.forward(add(this.mlp.forward(mixed, options), mixed));
  }
}

/**
 * Token logits `[B, T, N]` for masked language modelling. Names in the state are those of m2's `BertForMaskedLM` but for
 * `LayerNorm`, see {@link renameMonarchBert}.
 */
export class MonarchBert {
  readonly bert: {
    readonly embeddings: {
      readonly wordEmbeddings: Embedding;
      readonly positionEmbeddings: Embedding | undefined;
      readonly tokenTypeEmbeddings: Embedding;
      readonly layerNorm: LayerNorm;
    };
    readonly encoder: { readonly layer: readonly BertLayer[] };
  };
  readonly cls: {
    readonly predictions: {
      readonly transform: { readonly dense: Linear; readonly layerNorm: LayerNorm };
      /** `[N]`; the matrix is the table of words. */
      readonly decoder: { readonly bias: Variable };
    };
  };
  readonly vocabSize: number;
  readonly dim: number;
  readonly maxLength: number;
  readonly dropout: number;
  readonly headActivation: ActivationName;

  constructor(options: MonarchBertOptions) {
    checkOptions("MonarchBert", options, [
      "key",
      "vocabSize",
      "dim",
      "maxLength",
      "layers",
      "inner",
      "blocks",
      "gated",
      "paddingToken",
      "segments",
      "positions",
      "bidirectional",
      "residualConv",
      "inputNorm",
      "filter",
      "dropout",
      "normEps",
      "headActivation",
    ]);
    const { key, vocabSize, dim = 768, maxLength = 128, layers = 12, inner, blocks = 4 } = options;
    const { segments = 2, positions = true, normEps: eps = 1e-12 } = options;
    for (const [name, n] of Object.entries({ vocabSize, dim, maxLength, layers, segments })) {
      if (!Number.isInteger(n) || n < 1)
        throw new ConfigError("MonarchBert", `${name} must be a positive integer`, { got: `${n}` });
    }
    [this.vocabSize, this.dim, this.maxLength] = [vocabSize, dim, maxLength];
    this.dropout = checkRate("MonarchBert", options.dropout ?? 0);
    this.headActivation = activationName(options.headActivation ?? "gelu");
    const { device } = key;
    const keys = random.splitKey(key, 4 + 2 * layers);
    const norm = (): LayerNorm => new LayerNorm({ dim, eps, device });
    const { bidirectional = true, residualConv = true, inputNorm = false, filter } = options;
    this.bert = {
      embeddings: {
        wordEmbeddings: new Embedding({
          key: keys[0]!,
          count: vocabSize,
          dim,
          ...(options.paddingToken === undefined ? {} : { paddingIndex: options.paddingToken }),
        }),
        positionEmbeddings: positions ? new Embedding({ key: keys[1]!, count: maxLength, dim }) : undefined,
        tokenTypeEmbeddings: new Embedding({ key: keys[2]!, count: segments, dim }),
        layerNorm: norm(),
      },
      encoder: {
        layer: Array.from({ length: layers }, (_, i) => {
          const mixer = new MonarchMixer({
            key: keys[4 + 2 * i]!,
            dim,
            maxLength,
            bidirectional,
            residualConv,
            inputNorm,
            dropout: this.dropout,
            filter: { embeddingDim: 5, width: 128, ...filter },
          });
          const mlp = new MonarchMlp({
            key: keys[5 + 2 * i]!,
            dim,
            blocks,
            gated: options.gated ?? true,
            dropout: this.dropout,
            ...(inner === undefined ? {} : { inner }),
          });
          return new BertLayer(mixer, mlp, norm());
        }),
      },
    };
    this.cls = {
      predictions: {
        transform: {
          dense: new Linear({ key: keys[3]!, inputs: dim, outputs: dim }),
          layerNorm: new LayerNorm({ dim, eps: 1e-12, device }),
        },
        decoder: { bias: parameter(zeros([vocabSize], { device })) },
      },
    };
  }

  /** Hidden states `[B, T, D]` of token numbers `[B, T]` i32; those of real tokens do not depend on padding, on either side. */
  hidden(ids: Tensor, options: BertForwardOptions = {}): Tensor {
    if (ids.rank !== 2 || ids.shape[1]! > this.maxLength) {
      throw new ShapeError("MonarchBert", "expected ids [B, T]", {
        expected: `[B, up to ${this.maxLength}]`,
        got: `[${ids.shape.join(", ")}]`,
      });
    }
    const { embeddings, encoder } = this.bert;
    const { mask, key } = options;
    const segments = options.segments ?? zeros(ids.shape, { dtype: "i32", device: ids.device });
    let x = add(embeddings.wordEmbeddings.forward(ids), embeddings.tokenTypeEmbeddings.forward(segments));
    if (embeddings.positionEmbeddings) {
      const table = embeddings.positionEmbeddings;
      const positions = options.positions ?? (mask && compactPositions(mask));
      x = add(x, positions ? table.forward(positions) : narrow(table.weight.value, 0, 0, ids.shape[1]!));
    }
    x = dropout(embeddings.layerNorm.forward(x), this.dropout, key, 0);
    encoder.layer.forEach((layer, i) => {
      x = layer.forward(x, key ? { ...options, key: random.foldIn(key, 1 + i) } : options);
    });
    return x;
  }

  /** Logits `[B, T, N]` of token numbers `[B, T]` i32. */
  forward(ids: Tensor, options: BertForwardOptions = {}): Tensor {
    const { transform, decoder } = this.cls.predictions;
    const inner = activate(this.headActivation, transform.dense.forward(this.hidden(ids, options)));
    const z = transform.layerNorm.forward(inner);
    return linear(z, this.bert.embeddings.wordEmbeddings.weight.value, decoder.bias.value);
  }
}

/** Names of m2's `BertForMaskedLM` to ours, for `loadState`; undefined for buffers and the tied matrix. */
export function renameMonarchBert(key: string): string | undefined {
  if (key === "cls.predictions.decoder.weight" || key.startsWith("bert.pooler.")) return undefined;
  if (key === "bert.embeddings.position_ids" || key === "bert.embeddings.token_type_ids") return undefined;
  return key.replace("LayerNorm", "layer_norm");
}
