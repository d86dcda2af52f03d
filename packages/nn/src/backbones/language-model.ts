// Token embeddings, residual blocks, logits: mad-lab's language model, for any layers.

import {
  ConfigError,
  ShapeError,
  add,
  cast,
  checkOptions,
  checkSizes,
  full,
  narrow,
  random,
  sum,
  type DType,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { embedding, linear } from "@everlong/kernels";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import type { MixerState } from "../mixer.ts";
import { compactPositions } from "../mixers/attention-padding.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Embedding } from "../layers/embedding.ts";
import { Linear } from "../layers/linear.ts";
import { makeNorm, type LayerNorm, type NormName, type RMSNorm } from "../layers/norm.ts";
import { checkPositions, sineTable, type PositionKind, type TableMath } from "./position-table.ts";
import { Block, resetLinears, type LayerSpec } from "./block.ts";

export interface LanguageModelOptions {
  readonly key: Tensor;
  readonly vocabSize: number;
  /** Width D. Default 128. */
  readonly dim?: number;
  /** Longest input. */
  readonly maxLength: number;
  /** Layers in order; each becomes `x + layer(norm(x))`. */
  readonly layers: readonly LayerSpec[];
  /** Default "layer". */
  readonly norm?: NormName;
  /** Default 1e-5. */
  readonly normEps?: number;
  /** Added to the embeddings: nothing (default; mixers bring their own), a learned table, or sines. */
  readonly positions?: PositionKind;
  /** Of the embeddings. Default 0. */
  readonly embedDropout?: number;
  /** Logits through the embedding table. Default false. */
  readonly tied?: boolean;
  /** What the residual stream is kept in, for models of lower precision. Default: the dtype of the parameters. */
  readonly residualDtype?: DType;
  /** How a sine table is computed. Default float64. */
  readonly tableMath?: TableMath;
  /** Blocks computed again in the backward pass: all, or these. Default none. */
  readonly recompute?: boolean | readonly number[];
}

const OPTIONS = [
  "key",
  "vocabSize",
  "dim",
  "maxLength",
  "layers",
  "norm",
  "normEps",
  "positions",
  "embedDropout",
  "tied",
  "residualDtype",
  "tableMath",
  "recompute",
] as const satisfies readonly (keyof LanguageModelOptions)[];

/** What generation carries from one token to the next; tensors only, so a step can be compiled. */
export interface ModelState {
  /** One per layer; empty for channel mixers. */
  readonly layers: readonly MixerState[];
  /** `[B]` i32: real positions so far. */
  readonly position: Tensor;
  readonly [name: string]: Tensor | readonly MixerState[];
}

/** Whether block `i` is computed again. */
export const recomputes = (choice: boolean | readonly number[] | undefined, i: number): boolean =>
  typeof choice === "object" ? choice.includes(i) : (choice ?? false);

/**
 * Next-token model. Embeddings start at N(0, 0.02) and the biases of all linear layers at 0, as in mad-lab; everything else
 * as layers start themselves.
 */
export class LanguageModel {
  readonly embedding: Embedding;
  /** `[maxLength, D]`. */
  readonly positions: Variable | undefined;
  readonly layers: readonly Block[];
  readonly norm: LayerNorm | RMSNorm;
  readonly head: Linear | undefined;
  readonly dim: number;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly embedDropout: number;
  readonly #sines: Tensor | undefined;

  constructor(options: LanguageModelOptions) {
    checkOptions("LanguageModel", options, OPTIONS);
    const {
      key,
      vocabSize,
      dim = 128,
      maxLength,
      layers,
      norm = "layer",
      normEps: eps = 1e-5,
      positions = "none",
    } = options;
    checkSizes("LanguageModel", { vocabSize, dim, maxLength });
    checkPositions("LanguageModel", positions);
    if (layers.length === 0) throw new ConfigError("LanguageModel", "needs at least one layer");
    [this.dim, this.vocabSize, this.maxLength] = [dim, vocabSize, maxLength];
    this.embedDropout = checkRate("LanguageModel", options.embedDropout ?? 0);
    const keys = random.splitKey(key, layers.length + 3);
    this.embedding = new Embedding({ key: keys[0]!, count: vocabSize, dim });
    if (positions === "learned") this.positions = parameter(gaussian(keys[1]!, [maxLength, dim], 0.02));
    if (positions === "sines") this.#sines = sineTable(maxLength, dim, key.device, options.tableMath);
    this.layers = layers.map(
      (spec, i) =>
        new Block({
          key: keys[3 + i]!,
          dim,
          maxLength,
          spec,
          norm,
          eps,
          recompute: recomputes(options.recompute, i),
          residualDtype: options.residualDtype,
        }),
    );
    this.norm = makeNorm(norm, { dim, eps, device: key.device });
    if (!options.tied) this.head = new Linear({ key: keys[2]!, inputs: dim, outputs: vocabSize });
    resetLinears(this);
  }

  /** Hidden states after the last norm, `[B, T, D]`, of token numbers `[B, T]` i32. */
  hidden(ids: Tensor, options: ForwardOptions = {}): Tensor {
    if (ids.rank !== 2)
      throw new ShapeError("LanguageModel", "expected ids [B, T]", { got: `[${ids.shape.join(", ")}]` });
    const time = ids.shape[1]!;
    let x = this.embedding.forward(ids);
    const table = this.positions?.value ?? this.#sines;
    if (table) {
      this.#within(time);
      // Padding has no place in the table.
      const positions = options.positions ?? (options.mask && compactPositions(options.mask));
      x = add(x, positions ? embedding(table, positions) : narrow(table, 0, 0, time));
    }
    x = dropout(x, this.embedDropout, options.key, this.layers.length);
    this.layers.forEach((block, i) => (x = block.forward(x, options, i)));
    return this.norm.forward(cast(x, this.norm.weight.dtype));
  }

  /** Logits `[B, T, N]` of token numbers `[B, T]` i32. */
  forward(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#logits(this.hidden(ids, options));
  }

  /**
   * Logits `[B, T, N]` of prompts, and the state to go on from. With a mask prompts may differ in length, padded on
   * either side; what comes next follows the last real token of each.
   * @param options.capacity positions that will ever be held, prompt included
   * @throws ConfigError when a layer has no `prefill`
   */
  prefill(
    ids: Tensor,
    options: { readonly capacity: number; readonly mask?: Tensor },
  ): { logits: Tensor; state: ModelState } {
    const [batch, time] = ids.shape as [number, number];
    const { capacity, mask } = options;
    let x = this.embedding.forward(ids);
    const table = this.positions?.value ?? this.#sines;
    if (table) {
      this.#within(capacity);
      x = add(x, mask ? embedding(table, compactPositions(mask)) : narrow(table, 0, 0, time));
    }
    const layers = this.layers.map((block) => {
      const out = block.prefill(x, options);
      x = out.x;
      return out.state;
    });
    const position = mask
      ? sum(cast(mask, "i32"), -1)
      : full([batch], time, { dtype: "i32", device: ids.device });
    return {
      logits: this.#logits(this.norm.forward(cast(x, this.norm.weight.dtype))),
      state: { layers, position },
    };
  }

  /** Logits `[B, N]` after one more token `[B]` i32, and the next state. Of one shape whatever the position: compile it. */
  step(ids: Tensor, state: ModelState): { logits: Tensor; state: ModelState } {
    let x = this.embedding.forward(ids);
    const table = this.positions?.value ?? this.#sines;
    if (table) x = add(x, embedding(table, state.position));
    const layers = this.layers.map((block, i) => {
      const out = block.step(x, state.layers[i]!);
      x = out.x;
      return out.state;
    });
    return {
      logits: this.#logits(this.norm.forward(cast(x, this.norm.weight.dtype))),
      state: { layers, position: add(state.position, 1) },
    };
  }

  #logits(hidden: Tensor): Tensor {
    return this.head ? this.head.forward(hidden) : linear(hidden, this.embedding.weight.value);
  }

  /** @throws ShapeError when a position table ends before `time`. */
  #within(time: number): number {
    if (time <= this.maxLength) return time;
    throw new ShapeError("LanguageModel", "longer than maxLength", {
      expected: `at most ${this.maxLength}`,
      got: `${time}`,
    });
  }
}
