import { ConfigError, checkOptions } from "@everlong/core";
import { ABSTAIN } from "../votes/votes.ts";
import type { Votes } from "../votes/votes.ts";
import type { LabelModel, LabelModelFit, ModelState } from "./label-model.ts";
import { stateNumbers } from "./label-model.ts";
import { balanceOrUniform, requireVotes } from "./class-balance.ts";

/** Options of {@link MajorityVote}. */
export interface MajorityVoteOptions {
  /**
   * `hard`: the classes with most votes share the probability (Snorkel's and WRENCH's rule). `soft`: every class gets its share of the votes.
   * Default `hard`.
   */
  readonly shares?: "hard" | "soft";
}

/** One function, one vote. The baseline that every label model must beat. */
export class MajorityVote implements LabelModel {
  readonly #soft: boolean;
  #accuracies: Float64Array = new Float64Array(0);
  #balance: Float64Array | undefined;

  constructor(options: MajorityVoteOptions = {}) {
    checkOptions("majority-vote", options, ["shares"]);
    this.#soft = options.shares === "soft";
  }

  fit(votes: Votes, options: LabelModelFit = {}): this {
    requireVotes("majority-vote", votes);
    this.#balance = balanceOrUniform("majority-vote", votes.classes, options.classBalance);
    this.#accuracies = agreement(votes, this.predictProba(votes));
    return this;
  }

  predictProba(votes: Votes): Float64Array {
    const weights = new Float64Array(votes.functions).fill(1);
    return weightedShares(votes, weights, this.#soft, this.#balance);
  }

  state(): ModelState {
    return { accuracies: [...this.#accuracies], balance: [...(this.#balance ?? [])] };
  }

  restore(state: ModelState): this {
    this.#accuracies = stateNumbers(state, "accuracies");
    this.#balance = stateNumbers(state, "balance");
    return this;
  }

  /** Agreement of each function with the majority, `[M]`. */
  accuracies(): Float64Array {
    return this.#accuracies;
  }
}

/** Options of {@link WeightedVote}. */
export interface WeightedVoteOptions {
  /** One weight per function, `[M]`. Default: log odds of the accuracies, learned by {@link WeightedVote.fit}. */
  readonly weights?: ArrayLike<number>;
}

/**
 * Votes weighted by the log odds of each function's accuracy, `log(a (K - 1) / (1 - a))`: the optimal rule for independent functions
 * (Nitzan and Paroush 1982). Accuracies come from dev labels when there are any, else from the agreement with the majority.
 */
export class WeightedVote implements LabelModel {
  readonly #given: Float64Array | undefined;
  #weights: Float64Array = new Float64Array(0);
  #accuracies: Float64Array = new Float64Array(0);
  #logBalance: Float64Array = new Float64Array(0);

  constructor(options: WeightedVoteOptions = {}) {
    checkOptions("weighted-vote", options, ["weights"]);
    this.#given = options.weights ? Float64Array.from(options.weights) : undefined;
  }

  fit(votes: Votes, options: LabelModelFit & { devVotes?: Votes } = {}): this {
    requireVotes("weighted-vote", votes);
    const { classes: k } = votes;
    this.#logBalance = balanceOrUniform("weighted-vote", k, options.classBalance).map((p) =>
      Math.log(Math.max(p, 1e-12)),
    );
    const { devLabels, devVotes } = options;
    if (devLabels && devVotes) {
      const truth = new Float64Array(devVotes.items * k);
      for (let i = 0; i < devVotes.items; i++) truth[i * k + devLabels[i]!] = 1;
      this.#accuracies = agreement(devVotes, truth);
    } else this.#accuracies = agreement(votes, new MajorityVote({ shares: "soft" }).predictProba(votes));
    if (this.#given && this.#given.length !== votes.functions)
      throw new ConfigError("weighted-vote", "there must be one weight per function", {
        expected: `${votes.functions}`,
        got: `${this.#given.length}`,
      });
    this.#weights = this.#given ?? this.#accuracies.map((a) => Math.log((a * (k - 1)) / (1 - a)));
    return this;
  }

  predictProba(votes: Votes): Float64Array {
    const { classes: k, functions: m } = votes;
    const out = new Float64Array(votes.items * k);
    const log = new Float64Array(k);
    for (let i = 0; i < votes.items; i++) {
      log.set(this.#logBalance);
      for (let j = 0; j < m; j++) {
        const vote = votes.at(i, j);
        if (vote !== ABSTAIN) log[vote] = log[vote]! + this.#weights[j]!;
      }
      softmaxInto(log, out, i * k);
    }
    return out;
  }

  state(): ModelState {
    return {
      weights: [...this.#weights],
      accuracies: [...this.#accuracies],
      logBalance: [...this.#logBalance],
    };
  }

  restore(state: ModelState): this {
    this.#weights = stateNumbers(state, "weights");
    this.#accuracies = stateNumbers(state, "accuracies");
    this.#logBalance = stateNumbers(state, "logBalance");
    return this;
  }

  accuracies(): Float64Array {
    return this.#accuracies;
  }
}

/** Exponentiates and normalises `log` into `out[at ..]`. */
export function softmaxInto(log: ArrayLike<number>, out: Float64Array, at: number): void {
  let top = -Infinity;
  for (let c = 0; c < log.length; c++) top = Math.max(top, log[c]!);
  let sum = 0;
  for (let c = 0; c < log.length; c++) {
    const p = top === -Infinity ? 1 : Math.exp(log[c]! - top);
    out[at + c] = p;
    sum += p;
  }
  for (let c = 0; c < log.length; c++) out[at + c] = out[at + c]! / sum;
}

function weightedShares(
  votes: Votes,
  weights: Float64Array,
  soft: boolean,
  balance: Float64Array | undefined,
): Float64Array {
  const { classes: k, functions: m } = votes;
  const out = new Float64Array(votes.items * k);
  const count = new Float64Array(k);
  for (let i = 0; i < votes.items; i++) {
    count.fill(0);
    let total = 0;
    for (let j = 0; j < m; j++) {
      const vote = votes.at(i, j);
      if (vote === ABSTAIN) continue;
      count[vote] = count[vote]! + weights[j]!;
      total += weights[j]!;
    }
    const most = Math.max(...count);
    const winners = count.filter((x) => x === most).length;
    for (let c = 0; c < k; c++) {
      if (total === 0) out[i * k + c] = balance?.[c] ?? 1 / k;
      else if (soft) out[i * k + c] = count[c]! / total;
      else out[i * k + c] = count[c] === most ? 1 / winners : 0;
    }
  }
  return out;
}

/** The mean probability that each function's votes are right, smoothed towards chance by one vote, `[M]`. */
export function agreement(votes: Votes, truth: Float64Array): Float64Array {
  const { classes: k, functions: m } = votes;
  const right = new Float64Array(m).fill(1 / k);
  const said = new Float64Array(m).fill(1);
  for (let i = 0; i < votes.items; i++)
    for (let j = 0; j < m; j++) {
      const vote = votes.at(i, j);
      if (vote === ABSTAIN) continue;
      right[j] = right[j]! + truth[i * k + vote]!;
      said[j] = said[j]! + 1;
    }
  return right.map((r, j) => Math.min(r / said[j]!, 1 - 1e-6));
}
