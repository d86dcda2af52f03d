import { ConfigError, ShapeError, checkOptions } from "@everlong/core";
import type { Embeddings } from "../embeddings/embeddings.ts";
import type { EpoxyOptions, PreparedVotes } from "../epoxy/epoxy.ts";
import { Epoxy } from "../epoxy/epoxy.ts";
import { extendVotes } from "../epoxy/extend.ts";
import { logLoss } from "../evaluation/metrics.ts";
import type { LabelModel } from "../label-models/label-model.ts";
import { MajorityVote } from "../label-models/majority-vote.ts";
import { SquidLabelModel } from "../label-models/squid-label-model.ts";
import type { Votes } from "../votes/votes.ts";
import type { KMeans } from "./kmeans.ts";
import { assignParts, kMeans } from "./kmeans.ts";

/** Options of {@link Liger}. */
export interface LigerOptions extends EpoxyOptions {
  /** Number of parts. Default 2. */
  readonly parts?: number;
  /** One radius per function, or one for all; absent: no extension. */
  readonly radii?: ArrayLike<number> | number;
  /** Makes the label model of a part. Default {@link SquidLabelModel}. */
  readonly model?: () => LabelModel;
  /** P(Y), the same in every part; absent: chosen part by part on dev when there are dev labels, else uniform. */
  readonly classBalance?: ArrayLike<number>;
  /** Candidates for P(Y = 0) of a part, two classes. Default 0.05, 0.1 .. 0.95. */
  readonly balanceGrid?: readonly number[];
  /** Parts with fewer training items use the model of all items. Default 50. */
  readonly leastItems?: number;
  readonly seed?: number;
}

/** Labelled items that may choose the class balance of each part; never test items. */
export interface DevSet {
  readonly votes: Votes;
  readonly embeddings: Embeddings;
  readonly labels: ArrayLike<number>;
}

/** What a part of the space turned out to be. */
export interface LigerPart {
  readonly items: number;
  readonly devItems: number;
  readonly classBalance: Float64Array;
  /** Where the part was too small or without votes, the model of all items serves. */
  readonly fallback: boolean;
  /** Estimated accuracies of the functions in this part, `[M]`. */
  readonly accuracies: Float64Array;
}

/**
 * Liger: one label model per part of the embedding space, on extended votes (Chen, Fu et al. 2022, arXiv 2203.13270). Function accuracies vary
 * over the space; a partition lets the model see it, extension gives each part enough votes.
 *
 * @example
 * const liger = new Liger({ parts: 3, radii: 0.7 });
 * await liger.fit(trainVotes, trainEmbeddings, { votes: devVotes, embeddings: devEmbeddings, labels });
 * const labels = await liger.predictProba(testVotes, testEmbeddings); // [N, K]
 */
export class Liger {
  readonly #options: LigerOptions;
  #epoxy: Epoxy | undefined;
  #partition: KMeans | undefined;
  #models: LabelModel[] = [];
  #parts: LigerPart[] = [];

  constructor(options: LigerOptions = {}) {
    checkOptions("liger", options, [
      "parts",
      "radii",
      "model",
      "classBalance",
      "balanceGrid",
      "leastItems",
      "seed",
      "metric",
      "zeroRows",
      "search",
    ]);
    this.#options = options;
  }

  /** Partitions the training items, extends their votes and fits a label model in every part. */
  async fit(votes: Votes, embeddings: Embeddings, dev?: DevSet): Promise<this> {
    const { metric, zeroRows, search } = this.#options;
    const epoxy = new Epoxy(votes, embeddings, {
      ...(metric ? { metric } : {}),
      ...(zeroRows ? { zeroRows } : {}),
      ...(search ? { search } : {}),
    });
    const none = this.#options.radii === undefined;
    const train = none ? unsearched(votes) : await epoxy.prepare(votes, embeddings);
    const prepared = dev && {
      ...dev,
      prepared: none ? unsearched(dev.votes) : await epoxy.prepare(dev.votes, dev.embeddings),
    };
    return this.fitPrepared(epoxy, train, prepared);
  }

  /** {@link fit} on votes whose neighbours are known already: what a search over radii and numbers of parts calls. */
  fitPrepared(
    epoxy: Epoxy,
    train: PreparedVotes,
    dev?: DevSet & { readonly prepared: PreparedVotes },
    partition?: KMeans,
  ): this {
    const { parts = 2, seed = 0, leastItems = 50 } = this.#options;
    this.#epoxy = epoxy;
    this.#partition = partition ?? kMeans(epoxy.embeddings, parts, { seed });
    const extended = this.#extend(train);
    const devExtended = dev && this.#extend(dev.prepared);
    const devParts = dev && assignParts(dev.embeddings, this.#partition.centers);
    if (dev && dev.labels.length !== dev.votes.items)
      throw new ShapeError("liger", "dev votes and labels differ in length", {
        expected: `${dev.votes.items}`,
        got: `${dev.labels.length}`,
      });
    const everywhere = this.#fitPart(extended, devExtended, dev?.labels);
    this.#models = [];
    this.#parts = [];
    for (let part = 0; part < this.#partition.centers.items; part++) {
      const rows = rowsOf(this.#partition.labels, part);
      const own = extended.rows(rows);
      const devRows = devParts ? rowsOf(devParts, part) : [];
      const fallback = rows.length < leastItems || own.coverage() === 0;
      const fitted = fallback
        ? everywhere
        : this.#fitPart(
            own,
            devExtended?.rows(devRows),
            dev && Array.from(devRows, (i) => dev.labels[i]!),
            everywhere.balance,
          );
      this.#models.push(fitted.model);
      this.#parts.push({
        items: rows.length,
        devItems: devRows.length,
        classBalance: fitted.balance,
        fallback,
        accuracies: fitted.model.accuracies(),
      });
    }
    return this;
  }

  /** P(Y | votes, place), `[N, K]`. */
  async predictProba(votes: Votes, embeddings: Embeddings): Promise<Float64Array> {
    const epoxy = this.#fitted();
    const prepared =
      this.#options.radii === undefined ? unsearched(votes) : await epoxy.prepare(votes, embeddings);
    return this.predictPrepared(prepared, embeddings);
  }

  /** {@link predictProba} for votes whose neighbours are known already. */
  predictPrepared(prepared: PreparedVotes, embeddings: Embeddings): Float64Array {
    this.#fitted();
    const extended = this.#extend(prepared);
    const k = extended.classes;
    const out = new Float64Array(extended.items * k);
    const parts = assignParts(embeddings, this.#partition!.centers);
    for (const [part, model] of this.#models.entries()) {
      const rows = rowsOf(parts, part);
      if (rows.length === 0) continue;
      const p = model.predictProba(extended.rows(rows));
      for (const [r, i] of rows.entries()) out.set(p.subarray(r * k, (r + 1) * k), i * k);
    }
    return out;
  }

  /** Votes after extension with the fitted radii. */
  async extend(votes: Votes, embeddings: Embeddings): Promise<Votes> {
    return this.#extend(await this.#fitted().prepare(votes, embeddings));
  }

  /** What each part turned out to be. */
  parts(): readonly LigerPart[] {
    return this.#parts;
  }

  #extend(prepared: PreparedVotes): Votes {
    const { radii } = this.#options;
    return radii === undefined ? prepared.votes : extendVotes(prepared.votes, prepared.nearest, radii);
  }

  #fitted(): Epoxy {
    if (!this.#epoxy)
      throw new ConfigError("liger", "the model is not fitted", {
        hint: "Call fit(votes, embeddings) first.",
      });
    return this.#epoxy;
  }

  // Chooses the class balance on the dev items of the part, by log loss; too few of them, or one class only, keep the wider estimate.
  #fitPart(
    votes: Votes,
    devVotes?: Votes,
    devLabels?: ArrayLike<number>,
    wider?: Float64Array,
  ): { model: LabelModel; balance: Float64Array } {
    const { model = () => new SquidLabelModel(), classBalance, balanceGrid = DEFAULT_GRID } = this.#options;
    const k = votes.classes;
    const fit = (balance: Float64Array): LabelModel => {
      try {
        return model().fit(votes, { classBalance: balance });
      } catch (problem) {
        if (votes.coverage() > 0) throw problem;
        return new MajorityVote();
      }
    };
    const given = classBalance ? Float64Array.from(classBalance) : undefined;
    const start = given ?? wider ?? new Float64Array(k).fill(1 / k);
    const usable =
      !given &&
      k === 2 &&
      devVotes &&
      devLabels &&
      devVotes.items >= 20 &&
      new Set(Array.from(devLabels)).size > 1;
    if (!usable) return { model: fit(start), balance: start };
    let best: { model: LabelModel; balance: Float64Array; loss: number } | undefined;
    for (const negative of balanceGrid) {
      const balance = Float64Array.of(negative, 1 - negative);
      const fitted = fit(balance);
      const p = fitted.predictProba(devVotes).map((x) => Math.min(0.98, Math.max(0.02, x)));
      const loss = logLoss(devLabels, p, k);
      if (!best || loss < best.loss) best = { model: fitted, balance, loss };
    }
    return best!;
  }
}

const DEFAULT_GRID = Array.from({ length: 19 }, (_, i) => (i + 1) * 0.05);

function unsearched(votes: Votes): PreparedVotes {
  const cells = votes.items * votes.functions * votes.classes;
  return {
    votes,
    nearest: {
      metric: "cosine",
      items: votes.items,
      functions: votes.functions,
      classes: votes.classes,
      score: new Float32Array(cells).fill(-Infinity),
      index: new Int32Array(cells).fill(-1),
    },
  };
}

function rowsOf(labels: Int32Array, part: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < labels.length; i++) if (labels[i] === part) out.push(i);
  return out;
}
