import { ConfigError, checkOptions } from "@everlong/core";
import type { Embeddings } from "../embeddings/embeddings.ts";
import { embeddingRows } from "../embeddings/embeddings.ts";
import { Epoxy } from "../epoxy/epoxy.ts";
import type { PreparedVotes } from "../epoxy/epoxy.ts";
import type { RadiusChoice } from "../epoxy/radius-search.ts";
import { searchRadii } from "../epoxy/radius-search.ts";
import { logLoss, score } from "../evaluation/metrics.ts";
import { seededUniform } from "../evaluation/synthetic-votes.ts";
import type { LabelModel } from "../label-models/label-model.ts";
import { decide } from "../label-models/label-model.ts";
import type { NearestVotes } from "../neighbours/nearest-votes.ts";
import type { Votes } from "../votes/votes.ts";
import { kMeans } from "./kmeans.ts";
import type { KMeans } from "./kmeans.ts";
import type { DevSet, LigerOptions } from "./liger.ts";
import { Liger } from "./liger.ts";

/** Options of {@link searchLiger}. */
export interface LigerSearchOptions extends Omit<LigerOptions, "parts" | "radii"> {
  readonly model: () => LabelModel;
  /** Numbers of parts to try. Default 1, 2, 3, 4, 6. */
  readonly parts?: readonly number[];
  /** Folds of dev that choose the number of parts. Default 5. */
  readonly folds?: number;
}

/** The choice and how good it promises to be. */
export interface LigerChoice {
  readonly parts: number;
  readonly radii: RadiusChoice;
  /** Cross-validated dev log loss and accuracy of each number of parts: every item scored by radii and balances chosen without it. */
  readonly table: readonly { readonly parts: number; readonly loss: number; readonly accuracy: number }[];
  /** Fitted on all of train, tuned on all of dev. */
  readonly liger: Liger;
}

/**
 * Chooses radii, class balances and the number of parts on dev without leaking: the number of parts by cross-validation over dev, where each
 * fold is scored with radii and class balances chosen on the other folds; then radii and balances once more on all of dev. Test items are never seen.
 */
export async function searchLiger(
  train: { votes: Votes; embeddings: Embeddings },
  dev: DevSet,
  options: LigerSearchOptions,
): Promise<LigerChoice> {
  const { parts = [1, 2, 3, 4, 6], folds = 5, ...rest } = options;
  checkOptions("liger-search", rest, [
    "model",
    "classBalance",
    "balanceGrid",
    "leastItems",
    "seed",
    "metric",
    "zeroRows",
    "search",
  ]);
  const n = dev.votes.items;
  if (n < folds * 2)
    throw new ConfigError("liger-search", "too few dev items to cross-validate", {
      expected: `at least ${folds * 2} for ${folds} folds`,
      got: `${n}`,
    });
  const { metric, zeroRows, search } = rest;
  const epoxy = new Epoxy(train.votes, train.embeddings, {
    ...(metric ? { metric } : {}),
    ...(zeroRows ? { zeroRows } : {}),
    ...(search ? { search } : {}),
  });
  const trainReady = await epoxy.prepare(train.votes, train.embeddings);
  const devReady = await epoxy.prepare(dev.votes, dev.embeddings);
  const partitions = new Map<number, KMeans>();
  for (const count of new Set(parts))
    if (count <= train.votes.items)
      partitions.set(count, kMeans(train.embeddings, count, { seed: rest.seed ?? 0 }));
  const radiusOptions = {
    model: rest.model,
    ...(rest.classBalance ? { classBalance: rest.classBalance } : {}),
  };
  const fold = stratifiedFolds(dev.labels, folds);
  const k = dev.votes.classes;
  const held = new Map([...partitions.keys()].map((c) => [c, new Float64Array(n * k)]));
  for (let f = 0; f < folds; f++) {
    const inside = rowsWhere(fold, (x) => x !== f);
    const outside = rowsWhere(fold, (x) => x === f);
    const tune = pick(dev, devReady, inside);
    const probe = pick(dev, devReady, outside);
    const choice = searchRadii(trainReady, tune.prepared, tune.labels, radiusOptions);
    for (const [count, partition] of partitions) {
      const liger = new Liger({ ...rest, parts: count, radii: choice.radii });
      liger.fitPrepared(epoxy, trainReady, tune, partition);
      const p = liger.predictPrepared(probe.prepared, probe.embeddings);
      for (const [r, i] of outside.entries()) held.get(count)!.set(p.subarray(r * k, (r + 1) * k), i * k);
    }
  }
  const table = [...held].map(([count, p]) => ({
    parts: count,
    loss: logLoss(
      dev.labels,
      p.map((x) => Math.min(0.98, Math.max(0.02, x))),
      k,
    ),
    accuracy: score(dev.labels, decide(p, k), { classes: k }).accuracy,
  }));
  const best = table.reduce((a, b) => (b.loss < a.loss - 1e-3 ? b : a));
  const radii = searchRadii(trainReady, devReady, dev.labels, radiusOptions);
  const liger = new Liger({ ...rest, parts: best.parts, radii: radii.radii });
  liger.fitPrepared(epoxy, trainReady, { ...dev, prepared: devReady }, partitions.get(best.parts)!);
  return { parts: best.parts, radii, table, liger };
}

function pick(dev: DevSet, ready: PreparedVotes, rows: Int32Array): DevSet & { prepared: PreparedVotes } {
  const votes = dev.votes.rows(rows);
  return {
    votes,
    embeddings: embeddingRows(dev.embeddings, rows),
    labels: Array.from(rows, (i) => dev.labels[i]!),
    prepared: { votes, nearest: nearestRows(ready.nearest, rows) },
  };
}

function nearestRows(of: NearestVotes, rows: Int32Array): NearestVotes {
  const width = of.functions * of.classes;
  const score = new Float32Array(rows.length * width);
  const index = new Int32Array(rows.length * width);
  for (const [r, i] of rows.entries()) {
    score.set(of.score.subarray(i * width, (i + 1) * width), r * width);
    index.set(of.index.subarray(i * width, (i + 1) * width), r * width);
  }
  return { ...of, items: rows.length, score, index };
}

function rowsWhere(fold: Int32Array, keep: (f: number) => boolean): Int32Array {
  return Int32Array.from([...fold.keys()].filter((i) => keep(fold[i]!)));
}

/** A fold number per item, each class spread evenly over the folds. */
export function stratifiedFolds(labels: ArrayLike<number>, folds: number, seed = 5): Int32Array {
  const uniform = seededUniform(seed);
  const order = Array.from({ length: labels.length }, (_, i) => ({ i, key: uniform() }))
    .sort((a, b) => labels[a.i]! - labels[b.i]! || a.key - b.key)
    .map(({ i }) => i);
  const out = new Int32Array(labels.length);
  for (const [rank, i] of order.entries()) out[i] = rank % folds;
  return out;
}
