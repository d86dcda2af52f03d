import {
  ConfigError,
  add,
  checkOptions,
  div,
  equal,
  logSoftmax,
  matmul,
  mean,
  mul,
  neg,
  eye,
  random,
  sqrt,
  square,
  sum,
  tensor,
  transpose,
  unsqueeze,
  cast,
} from "@everlong/core";
import type { Tensor } from "@everlong/core";
import { Block, Embedding } from "@everlong/nn";
import type { LayerSpec } from "@everlong/nn";
import { AdamW, cosine, fit } from "@everlong/train";
import { seededUniform } from "../evaluation/synthetic-votes.ts";
import type { Embeddings } from "./embeddings.ts";
import { embeddings } from "./embeddings.ts";
import { tokenize } from "./text-features.ts";

/** Options of {@link TextEncoder}. */
export interface TextEncoderOptions {
  /** D. Default 64. */
  readonly size?: number;
  /** Layers of the encoder, any of Everlong's. Default one two-sided Hyena. */
  readonly layers?: readonly LayerSpec[];
  /** Tokens kept of each text. Default 32. */
  readonly maxLength?: number;
  /** Known tokens; the others share 512 hashed places. Default 6,000. */
  readonly vocabulary?: number;
  /** Steps of training. Default 150. */
  readonly steps?: number;
  /** Texts in a batch. Default 64. */
  readonly batch?: number;
  /** Share of tokens dropped from each view. Default 0.3. */
  readonly drop?: number;
  /** Temperature of the contrast. Default 0.1. */
  readonly temperature?: number;
  /** Default 0.003. */
  readonly learningRate?: number;
  readonly seed?: number;
  readonly onStep?: (step: number, loss: number) => void;
}

const HASHED = 512;
const KNOWN = [
  "size",
  "layers",
  "maxLength",
  "vocabulary",
  "steps",
  "batch",
  "drop",
  "temperature",
  "learningRate",
  "seed",
  "onStep",
] as const;

/**
 * A small sequence encoder trained on the texts alone: two views of a text, each without some of its tokens, must find each other among the
 * batch (contrastive learning with token dropout, after Gao et al. 2021, arXiv 2104.08821, with any Everlong mixer inside). Sentence
 * vectors are masked means, of length 1.
 *
 * @example
 * const encoder = await new TextEncoder({ steps: 150 }).fit(trainTexts);
 * const test = await encoder.transform(testTexts); // [N, 64]
 */
export class TextEncoder {
  readonly #options: Required<Omit<TextEncoderOptions, "onStep">> & Pick<TextEncoderOptions, "onStep">;
  readonly #index = new Map<string, number>();
  #table: Embedding | undefined;
  #blocks: Block[] = [];

  constructor(options: TextEncoderOptions = {}) {
    checkOptions("text-encoder", options, KNOWN);
    this.#options = {
      size: 64,
      layers: [{ layer: "hyena", options: { innerFactor: 1, bidirectional: true } }],
      maxLength: 32,
      vocabulary: 6000,
      steps: 150,
      batch: 64,
      drop: 0.3,
      temperature: 0.1,
      learningRate: 0.003,
      seed: 0,
      ...options,
    };
  }

  /** Learns vocabulary and weights from texts. */
  async fit(texts: readonly string[]): Promise<this> {
    const { size, layers, maxLength, steps, batch, temperature, learningRate, seed, onStep } = this.#options;
    if (texts.length < 2)
      throw new ConfigError("text-encoder", "there is nothing to contrast", {
        expected: "at least 2 texts",
        got: `${texts.length}`,
      });
    this.#learnVocabulary(texts);
    const keys = random.splitKey(random.key(seed), layers.length + 1) as Tensor[];
    this.#table = new Embedding({ key: keys[0]!, count: this.#index.size + HASHED + 1, dim: size, std: 0.3 });
    this.#blocks = layers.map(
      (spec, i) =>
        new Block({
          spec,
          norm: "layer",
          eps: 1e-5,
          dim: size,
          key: keys[i + 1]!,
          maxLength,
          recompute: false,
        }),
    );
    const uniform = seededUniform(seed + 1);
    const ids = texts.map((text) => this.#ids(text));
    const count = Math.min(batch, texts.length);
    const order = ids.map((_, i) => i);
    const batches = function* (this: TextEncoder): Generator<Record<string, Tensor>> {
      for (let at = 0; ; at += count) {
        if (at + count > order.length || at === 0) {
          for (let i = order.length - 1; i > 0; i--) {
            const j = Math.floor(uniform() * (i + 1));
            [order[i], order[j]] = [order[j]!, order[i]!];
          }
          at = 0;
        }
        const chosen = order.slice(at, at + count).map((i) => ids[i]!);
        yield { a: this.#view(chosen, uniform), b: this.#view(chosen, uniform) };
      }
    }.call(this);
    await fit({
      optimizer: new AdamW({ table: this.#table, blocks: this.#blocks }, { learningRate, weightDecay: 0.01 }),
      schedule: cosine({ steps, warmup: Math.ceil(steps / 10), final: 0.1 }),
      clip: 1,
      steps,
      batches,
      loss: ({ a, b }) => {
        const logits = div(matmul(this.#encode(a!), transpose(this.#encode(b!))), temperature);
        const own = eye(count);
        const missed = (z: Tensor): Tensor => neg(mean(sum(mul(own, logSoftmax(z)), [-1])));
        return div(add(missed(logits), missed(transpose(logits))), 2);
      },
      ...(onStep ? { onStep: ({ step, loss }) => onStep(step, loss) } : {}),
    });
    return this;
  }

  /** `[N, D]`, rows of length 1. */
  async transform(texts: readonly string[]): Promise<Embeddings> {
    if (!this.#table)
      throw new ConfigError("text-encoder", "the encoder is not fitted", { hint: "Call fit(texts) first." });
    const { size, batch } = this.#options;
    const out = new Float32Array(texts.length * size);
    for (let from = 0; from < texts.length; from += batch) {
      const ids = texts.slice(from, from + batch).map((text) => this.#ids(text));
      out.set(await this.#encode(this.#pad(ids)).data(), from * size);
    }
    return embeddings(out, [texts.length, size]);
  }

  #learnVocabulary(texts: readonly string[]): void {
    const counts = new Map<string, number>();
    for (const text of texts)
      for (const token of tokenize(text)) counts.set(token, (counts.get(token) ?? 0) + 1);
    this.#index.clear();
    const kept = [...counts]
      .filter(([, n]) => n > 1)
      .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
      .slice(0, this.#options.vocabulary);
    // 0 is padding, 1 .. HASHED the places of rare tokens
    for (const [i, [token]] of kept.entries()) this.#index.set(token, i + 1 + HASHED);
  }

  #ids(text: string): number[] {
    const tokens = tokenize(text).slice(0, this.#options.maxLength);
    return tokens.length === 0
      ? [1]
      : tokens.map((token) => this.#index.get(token) ?? 1 + (hash(token) % HASHED));
  }

  #view(texts: readonly (readonly number[])[], uniform: () => number): Tensor {
    return this.#pad(
      texts.map((ids) => {
        const kept = ids.filter(() => uniform() >= this.#options.drop);
        return kept.length > 0 ? kept : [ids[Math.floor(uniform() * ids.length)]!];
      }),
    );
  }

  #pad(texts: readonly (readonly number[])[]): Tensor {
    const { maxLength } = this.#options;
    const data = new Int32Array(texts.length * maxLength);
    for (const [i, ids] of texts.entries()) data.set(ids, i * maxLength);
    return tensor(data, [texts.length, maxLength]);
  }

  // [B, T] i32 to [B, D]
  #encode(ids: Tensor): Tensor {
    const padding = equal(ids, 0);
    const mask = equal(cast(padding, "i32"), 0); // [B, T]
    const weight = unsqueeze(cast(mask, "f32"), -1); // [B, T, 1]
    let x = this.#table!.forward(ids);
    for (const [site, block] of this.#blocks.entries()) x = block.forward(x, { mask }, site);
    const pooled = div(sum(mul(x, weight), [1]), sum(weight, [1]));
    return div(pooled, sqrt(add(sum(square(pooled), [-1], { keepDims: true }), 1e-12)));
  }
}

// FNV-1a
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}
