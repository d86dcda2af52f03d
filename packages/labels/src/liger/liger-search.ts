import { ConfigError, checkOptions } from "@everlong/core";
import type { Embeddings } from "../embeddings/embeddings.ts";
import { embeddingRows } from "../embeddings/embeddings.ts";
import { preparedRows } from "../epoxy/committee.ts";
import { Epoxy } from "../epoxy/epoxy.ts";
import type { PreparedVotes } from "../epoxy/epoxy.ts";
import { searchRadii } from "../epoxy/radius-search.ts";
import { logLoss, score } from "../evaluation/metrics.ts";
import { stratifiedFolds } from "../evaluation/folds.ts";
import type { LabelModel } from "../label-models/label-model.ts";
import { decide } from "../label-models/label-model.ts";
import type { Votes } from "../votes/votes.ts";
import { kMeans } from "./kmeans.ts";
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

/** Several fitted {@link Liger}s whose labels are averaged; each chose radii and class balances on all folds of dev but one. */
export class LigerCommittee {
  readonly epoxy: Epoxy;
  readonly members: readonly { readonly liger: Liger; readonly radii: Float64Array }[];

  constructor(epoxy: Epoxy, members: LigerCommittee["members"]) {
    this.epoxy = epoxy;
    this.members = members;
  }

  /** The members' mean P(Y | votes, place), `[N, K]`. */
  async predictProba(votes: Votes, embeddings: Embeddings): Promise<Float64Array> {
    return this.predictPrepared(await this.epoxy.prepare(votes, embeddings), embeddings);
  }

  /** {@link predictProba} for votes whose neighbours are known already. */
  predictPrepared(prepared: PreparedVotes, embeddings: Embeddings): Float64Array {
    const out = new Float64Array(prepared.votes.items * prepared.votes.classes);
    for (const { liger } of this.members) {
      const p = liger.predictPrepared(prepared, embeddings);
      for (let x = 0; x < out.length; x++) out[x] = out[x]! + p[x]! / this.members.length;
    }
    return out;
  }
}

/** The choice and how good it promises to be. */
export interface LigerChoice {
  readonly parts: number;
  /** Cross-validated dev log loss and accuracy of each number of parts: every item scored by radii and balances chosen without it. */
  readonly table: readonly { readonly parts: number; readonly loss: number; readonly accuracy: number }[];
  readonly committee: LigerCommittee;
}

/**
 * Chooses radii, class balances and the number of parts on dev without leaking: for each fold of dev, radii and class balances are chosen on the
 * other folds and scored on it; the number of parts with the lowest held-out loss wins, and the fold's models form its committee. Test items are
 * never seen.
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
  const counts = [...new Set(parts)].filter((count) => count <= train.votes.items);
  const k = dev.votes.classes;
  const candidates = counts.map((count) => ({
    count,
    partition: kMeans(train.embeddings, count, { seed: rest.seed ?? 0 }),
    heldOut: new Float64Array(n * k),
    members: [] as { liger: Liger; radii: Float64Array }[],
  }));
  const fold = stratifiedFolds(dev.labels, folds);
  for (let f = 0; f < folds; f++) {
    const unseen = rowsWhere(fold, (x) => x === f);
    const tune = pick(
      dev,
      devReady,
      rowsWhere(fold, (x) => x !== f),
    );
    const probe = pick(dev, devReady, unseen);
    const { radii } = searchRadii(trainReady, tune.prepared, tune.labels, {
      model: rest.model,
      ...(rest.classBalance ? { classBalance: rest.classBalance } : {}),
    });
    for (const { count, partition, heldOut, members } of candidates) {
      const liger = new Liger({ ...rest, parts: count, radii }).fitPrepared(
        epoxy,
        trainReady,
        tune,
        partition,
      );
      const p = liger.predictPrepared(probe.prepared, probe.embeddings);
      for (const [r, i] of unseen.entries()) heldOut.set(p.subarray(r * k, (r + 1) * k), i * k);
      members.push({ liger, radii });
    }
  }
  const table = candidates.map(({ count, heldOut }) => ({
    parts: count,
    loss: logLoss(
      dev.labels,
      heldOut.map((x) => Math.min(0.98, Math.max(0.02, x))),
      k,
    ),
    accuracy: score(dev.labels, decide(heldOut, k, "first"), { classes: k }).accuracy,
  }));
  // a gain below a thousandth is no reason for more parts
  const best = table.reduce((a, b) => (b.loss < a.loss - 1e-3 ? b : a));
  const { members } = candidates.find(({ count }) => count === best.parts)!;
  return { parts: best.parts, table, committee: new LigerCommittee(epoxy, members) };
}

function pick(dev: DevSet, ready: PreparedVotes, rows: Int32Array): DevSet & { prepared: PreparedVotes } {
  const prepared = preparedRows(ready, rows);
  return {
    votes: prepared.votes,
    embeddings: embeddingRows(dev.embeddings, rows),
    labels: Array.from(rows, (i) => dev.labels[i]!),
    prepared,
  };
}

function rowsWhere(fold: Int32Array, keep: (f: number) => boolean): Int32Array {
  return Int32Array.from([...fold.keys()].filter((i) => keep(fold[i]!)));
}
