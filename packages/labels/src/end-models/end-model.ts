import {
  ConfigError,
  DataError,
  ShapeError,
  add,
  checkOptions,
  logSoftmax,
  mean,
  mul,
  neg,
  random,
  softmax,
  square,
  sum,
  tensor,
} from "@everlong/core";
import type { Tensor } from "@everlong/core";
import { Linear } from "@everlong/nn";
import { AdamW, fit } from "@everlong/train";
import type { Embeddings } from "../embeddings/embeddings.ts";
import { embeddingRows, requireFinite } from "../embeddings/embeddings.ts";
import { stratifiedFolds } from "../evaluation/folds.ts";
import { logLoss } from "../evaluation/metrics.ts";

/** Options of {@link EndModel}. */
export interface EndModelOptions {
  /** `linear`: a linear probe. `mlp`: one hidden layer with GELU, the papers' adapter. Default `mlp`. */
  readonly kind?: "linear" | "mlp";
  /** Width of the hidden layer. Default 64. */
  readonly hidden?: number;
  /** Full-batch AdamW steps. Default 200. */
  readonly steps?: number;
  /** Default 0.01. */
  readonly learningRate?: number;
  /** `l2 / 2` times the sum of squared weights (not biases) is added to the mean loss. Default 0.01. */
  readonly l2?: number;
  readonly seed?: number;
}

/**
 * A classifier on embeddings, trained with Everlong on probabilistic labels: the cross-entropy against P(Y), so that an unsure label pulls less.
 *
 * @example
 * const model = new EndModel({ kind: "mlp" });
 * await model.fit(trainEmbeddings, labels); // [N, D], P(Y) [N, K]
 * const p = await model.predictProba(testEmbeddings); // [N, K]
 */
export class EndModel {
  readonly #options: Required<EndModelOptions>;
  #layers: Linear[] = [];
  #mean: Float64Array = new Float64Array(0);
  #scale = 1;

  constructor(options: EndModelOptions = {}) {
    checkOptions("end-model", options, ["kind", "hidden", "steps", "learningRate", "l2", "seed"]);
    this.#options = {
      kind: "mlp",
      hidden: 64,
      steps: 200,
      learningRate: 0.01,
      l2: 0.01,
      seed: 0,
      ...options,
    };
  }

  /**
   * Trains on P(Y) `[N, K]`. Items without information can be left out with `rows`.
   * @throws DataError when all labels agree on one class: there is nothing to tell apart.
   */
  async fit(x: Embeddings, labels: Float64Array, rows?: ArrayLike<number>): Promise<this> {
    const { kind, hidden, steps, learningRate, l2, seed } = this.#options;
    requireFinite(x, "end-model");
    const k = labels.length / x.items;
    if (!Number.isInteger(k) || k < 2)
      throw new ShapeError("end-model", "labels do not fit the embeddings", {
        expected: `[${x.items}, K] probabilities`,
        got: `${labels.length} numbers`,
      });
    const list = rows ? Array.from(rows) : Array.from({ length: x.items }, (_, i) => i);
    if (list.length === 0) throw new DataError("end-model", "there is no item to train on");
    if (oneClass(labels, list, k))
      throw new DataError("end-model", "all labels name the same class", {
        expected: "at least two classes among the training labels",
        hint: "Check the class balance and the polarity of the labelling functions.",
      });
    this.#standardise(x, list);
    const inputs = this.#tensor(x, list);
    const targets = tensor(Float32Array.from(list.flatMap((i) => [...labels.subarray(i * k, (i + 1) * k)])), [
      list.length,
      k,
    ]);
    const keys = random.splitKey(random.key(seed)) as [Tensor, Tensor];
    this.#layers =
      kind === "linear"
        ? [new Linear({ key: keys[0], inputs: x.size, outputs: k })]
        : [
            new Linear({ key: keys[0], inputs: x.size, outputs: hidden }),
            new Linear({ key: keys[1], inputs: hidden, outputs: k }),
          ];
    const batch = { x: inputs, y: targets };
    await fit({
      optimizer: new AdamW({ layers: this.#layers }, { learningRate, weightDecay: 0 }),
      loss: (b) => {
        const fitLoss = neg(mean(sum(mul(b["y"]!, logSoftmax(this.#forward(b["x"]!))), [-1])));
        const weights = this.#layers.map((layer) => sum(square(layer.weight.value)));
        return add(
          fitLoss,
          mul(
            weights.reduce((a, w) => add(a, w)),
            l2 / 2,
          ),
        );
      },
      batches: Array.from({ length: steps }, () => batch),
      steps,
      freeBatches: false,
    });
    return this;
  }

  /** P(Y), `[N, K]`. */
  async predictProba(x: Embeddings): Promise<Float64Array> {
    if (this.#layers.length === 0)
      throw new ConfigError("end-model", "the model is not fitted", {
        hint: "Call fit(embeddings, labels) first.",
      });
    const list = Array.from({ length: x.items }, (_, i) => i);
    return Float64Array.from(await softmax(this.#forward(this.#tensor(x, list))).data());
  }

  #forward(x: Tensor): Tensor {
    const [first, second] = this.#layers as [Linear, Linear | undefined];
    return second ? second.forward(first.forward(x, "gelu")) : first.forward(x);
  }

  // One scale for all columns keeps the geometry of the space, in which small directions are noise.
  #standardise(x: Embeddings, rows: readonly number[]): void {
    const d = x.size;
    this.#mean = new Float64Array(d);
    for (const i of rows)
      for (let c = 0; c < d; c++) this.#mean[c] = this.#mean[c]! + x.data[i * d + c]! / rows.length;
    let square = 0;
    for (const i of rows) for (let c = 0; c < d; c++) square += (x.data[i * d + c]! - this.#mean[c]!) ** 2;
    this.#scale = 1 / Math.sqrt(square / (rows.length * d) || 1);
  }

  #tensor(x: Embeddings, rows: readonly number[]): Tensor {
    const d = x.size;
    const data = new Float32Array(rows.length * d);
    for (const [r, i] of rows.entries())
      for (let c = 0; c < d; c++) data[r * d + c] = (x.data[i * d + c]! - this.#mean[c]!) * this.#scale;
    return tensor(data, [rows.length, d]);
  }
}

/** Candidates for {@link EndModelOptions.l2}. */
export const L2_CANDIDATES: readonly number[] = [0.003, 0.03, 0.3];

/** Trains one model per candidate `l2` and keeps the one with the lowest log loss on labelled dev items that it was not trained on. */
export async function tuneOnDev(
  options: EndModelOptions,
  train: { readonly x: Embeddings; readonly labels: Float64Array; readonly rows?: ArrayLike<number> },
  dev: { readonly x: Embeddings; readonly labels: ArrayLike<number> },
): Promise<EndModel> {
  const tried: { model: EndModel; loss: number }[] = [];
  for (const l2 of L2_CANDIDATES) {
    const model = await new EndModel({ ...options, l2 }).fit(train.x, train.labels, train.rows);
    const p = await model.predictProba(dev.x);
    tried.push({ model, loss: logLoss(dev.labels, p, p.length / dev.x.items) });
  }
  return tried.reduce((a, b) => (b.loss < a.loss ? b : a)).model;
}

/** Chooses `l2` by cross-validation over the labelled items themselves, then trains on all of them: a fair probe when labels are few. */
export async function tuneByFolds(
  options: EndModelOptions,
  x: Embeddings,
  labels: ArrayLike<number>,
  folds = 4,
): Promise<EndModel> {
  const classes = Math.max(...Array.from(labels)) + 1;
  const soft = oneHotLabels(labels, classes);
  const fold = stratifiedFolds(labels, folds);
  const tried: { l2: number; loss: number }[] = [];
  for (const l2 of L2_CANDIDATES) {
    let loss = 0;
    for (let f = 0; f < folds; f++) {
      const inside = [...fold.keys()].filter((i) => fold[i] !== f);
      const outside = [...fold.keys()].filter((i) => fold[i] === f);
      const model = await new EndModel({ ...options, l2 }).fit(x, soft, inside);
      const p = await model.predictProba(embeddingRows(x, outside));
      const held = p.map((value) => Math.min(0.999, Math.max(0.001, value)));
      loss +=
        logLoss(
          outside.map((i) => labels[i]!),
          held,
          classes,
        ) * outside.length;
    }
    tried.push({ l2, loss });
  }
  const { l2 } = tried.reduce((a, b) => (b.loss < a.loss ? b : a));
  return new EndModel({ ...options, l2 }).fit(x, soft);
}

/** P(Y) that is 1 for each label, `[N, K]`. */
export function oneHotLabels(labels: ArrayLike<number>, classes = 2): Float64Array {
  const out = new Float64Array(labels.length * classes);
  for (let i = 0; i < labels.length; i++) out[i * classes + labels[i]!] = 1;
  return out;
}

/** P(Y) as the mean label of the k nearest items by cosine, each weighted by its similarity, `[N, K]`. */
export function nearestNeighbours(
  support: Embeddings,
  labels: Float64Array,
  queries: Embeddings,
  k = 5,
): Float64Array {
  const classes = labels.length / support.items;
  const d = support.size;
  const out = new Float64Array(queries.items * classes);
  const unit = (of: Embeddings): Float64Array => {
    const rows = Float64Array.from(of.data);
    for (let i = 0; i < of.items; i++) {
      const row = rows.subarray(i * d, (i + 1) * d);
      const norm = Math.hypot(...row) || 1;
      for (let c = 0; c < d; c++) row[c] = row[c]! / norm;
    }
    return rows;
  };
  const [s, q] = [unit(support), unit(queries)];
  for (let i = 0; i < queries.items; i++) {
    const near: { at: number; cosine: number }[] = [];
    for (let j = 0; j < support.items; j++) {
      let cosine = 0;
      for (let c = 0; c < d; c++) cosine += q[i * d + c]! * s[j * d + c]!;
      if (near.length < k || cosine > near.at(-1)!.cosine) {
        near.push({ at: j, cosine });
        near.sort((a, b) => b.cosine - a.cosine);
        near.length = Math.min(near.length, k);
      }
    }
    let total = 0;
    for (const { at, cosine } of near) {
      const weight = Math.max(cosine, 1e-6);
      total += weight;
      for (let c = 0; c < classes; c++)
        out[i * classes + c] = out[i * classes + c]! + weight * labels[at * classes + c]!;
    }
    for (let c = 0; c < classes; c++) out[i * classes + c] = out[i * classes + c]! / total;
  }
  return out;
}

function oneClass(labels: Float64Array, rows: readonly number[], k: number): boolean {
  const best = (i: number): number => {
    let at = 0;
    for (let c = 1; c < k; c++) if (labels[i * k + c]! > labels[i * k + at]!) at = c;
    return at;
  };
  return rows.every((i) => best(i) === best(rows[0]!));
}
