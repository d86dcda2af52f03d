import { ConfigError, checkOptions } from "@everlong/core";
import type { Embeddings } from "../embeddings/embeddings.ts";
import type { SearchOptions } from "../neighbours/nearest.ts";
import { nearestVotes } from "../neighbours/nearest.ts";
import type { Metric, NearestVotes, ZeroRows } from "../neighbours/nearest-votes.ts";
import type { Votes } from "../votes/votes.ts";
import { extendVotes } from "./extend.ts";

/** Options of {@link Epoxy}. */
export interface EpoxyOptions {
  /** Default `cosine`. */
  readonly metric?: Metric;
  /** Default `error`. */
  readonly zeroRows?: ZeroRows;
  /** How neighbours are found. */
  readonly search?: Omit<SearchOptions, "rows">;
}

/** Votes that are ready to be extended with any radii. */
export interface PreparedVotes {
  readonly votes: Votes;
  readonly nearest: NearestVotes;
}

/**
 * Epoxy: weak votes travel to near neighbours in an embedding space (Chen, Fu et al. 2020, arXiv 2006.15168). No training: a search once
 * ({@link prepare}), then an extension per choice of radii ({@link extend}, milliseconds).
 *
 * @example
 * const epoxy = new Epoxy(trainVotes, trainEmbeddings);
 * const test = await epoxy.prepare(testVotes, testEmbeddings);
 * const extended = epoxy.extend(test, 0.8);
 */
export class Epoxy {
  readonly votes: Votes;
  readonly embeddings: Embeddings;
  readonly metric: Metric;
  readonly #zeroRows: ZeroRows;
  readonly #search: Omit<SearchOptions, "rows">;

  /** @param votes of the training items, `[S, M]` @param embeddings `[S, D]` */
  constructor(votes: Votes, embeddings: Embeddings, options: EpoxyOptions = {}) {
    checkOptions("epoxy", options, ["metric", "zeroRows", "search"]);
    const { metric = "cosine", zeroRows = "error", search = {} } = options;
    if (metric !== "cosine" && metric !== "l2")
      throw new ConfigError("epoxy", `no metric "${metric as string}"`, { expected: '"cosine" or "l2"' });
    this.votes = votes;
    this.embeddings = embeddings;
    this.metric = metric;
    this.#zeroRows = zeroRows;
    this.#search = search;
  }

  /** Finds the neighbours of other items. Pass the training votes and embeddings themselves to extend those: no item is its own neighbour. */
  async prepare(votes: Votes, embeddings: Embeddings): Promise<PreparedVotes> {
    const nearest = await nearestVotes(
      {
        support: this.embeddings,
        supportVotes: this.votes,
        queries: embeddings,
        metric: this.metric,
        zeroRows: this.#zeroRows,
        excludeSelf: embeddings === this.embeddings,
      },
      votes,
      this.#search,
    );
    return { votes, nearest };
  }

  /** The votes, extended within the radii (one per function, or one for all). */
  extend(prepared: PreparedVotes, radii: ArrayLike<number> | number): Votes {
    return extendVotes(prepared.votes, prepared.nearest, radii);
  }
}
