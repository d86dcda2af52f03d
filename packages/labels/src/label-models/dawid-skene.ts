import { checkOptions } from "@everlong/core";
import { ABSTAIN } from "../votes/votes.ts";
import type { Votes } from "../votes/votes.ts";
import { balanceOrUniform, requireVotes } from "./class-balance.ts";
import { independentPosterior } from "./independent-votes.ts";
import type { LabelModel, LabelModelFit, ModelState } from "./label-model.ts";
import { stateNumbers } from "./label-model.ts";
import { MajorityVote } from "./majority-vote.ts";

/** Options of {@link DawidSkene}. */
export interface DawidSkeneOptions {
  /** At most this many rounds. Default 200. */
  readonly iterations?: number;
  /** Stop when no posterior moves by more. Default 1e-6. */
  readonly tolerance?: number;
  /** Votes added to every cell of every confusion matrix. Default 0.01. */
  readonly smoothing?: number;
  /** Count an abstention as evidence: a function may abstain more often on one class. Default false. */
  readonly abstentionsAreEvidence?: boolean;
}

/**
 * One confusion matrix per function, fitted by expectation maximisation from the majority vote (Dawid and Skene 1979).
 * The class balance is learned unless it is given.
 */
export class DawidSkene implements LabelModel {
  readonly #options: Required<DawidSkeneOptions>;
  #confusion: Float64Array = new Float64Array(0);
  #balance: Float64Array = new Float64Array(0);
  #functions = 0;
  #classes = 2;

  constructor(options: DawidSkeneOptions = {}) {
    checkOptions("dawid-skene", options, ["iterations", "tolerance", "smoothing", "abstentionsAreEvidence"]);
    this.#options = {
      iterations: 200,
      tolerance: 1e-6,
      smoothing: 0.01,
      abstentionsAreEvidence: false,
      ...options,
    };
  }

  fit(votes: Votes, options: LabelModelFit = {}): this {
    requireVotes("dawid-skene", votes);
    const { classes: k, functions: m, items: n } = votes;
    this.#functions = m;
    this.#classes = k;
    const fixed = options.classBalance ? balanceOrUniform("dawid-skene", k, options.classBalance) : undefined;
    let posterior = new MajorityVote({ shares: "soft" }).predictProba(votes);
    for (let round = 0; round < this.#options.iterations; round++) {
      this.#maximise(votes, posterior, fixed);
      const next = this.predictProba(votes);
      let moved = 0;
      for (let x = 0; x < n * k; x++) moved = Math.max(moved, Math.abs(next[x]! - posterior[x]!));
      posterior = next;
      if (moved < this.#options.tolerance) break;
    }
    return this;
  }

  predictProba(votes: Votes): Float64Array {
    const { abstentionsAreEvidence } = this.#options;
    const rows = votes.classes + 1;
    return independentPosterior(votes, this.#balance, this.#confusion, (j, vote) =>
      vote === ABSTAIN && !abstentionsAreEvidence ? -1 : j * rows + vote + 1,
    );
  }

  state(): ModelState {
    return {
      functions: this.#functions,
      classes: this.#classes,
      confusion: [...this.#confusion],
      balance: [...this.#balance],
    };
  }

  restore(state: ModelState): this {
    this.#functions = Number(state["functions"]);
    this.#classes = Number(state["classes"]);
    this.#confusion = stateNumbers(state, "confusion");
    this.#balance = stateNumbers(state, "balance");
    return this;
  }

  /** P(vote = Y | the function votes), `[M]`. */
  accuracies(): Float64Array {
    const k = this.#classes;
    return Float64Array.from({ length: this.#functions }, (_, j) => {
      let right = 0;
      let said = 0;
      for (let y = 0; y < k; y++)
        for (let v = 0; v < k; v++) {
          const p = this.#confusion[(j * (k + 1) + v + 1) * k + y]! * this.#balance[y]!;
          said += p;
          if (v === y) right += p;
        }
      return said === 0 ? 1 / k : right / said;
    });
  }

  /** P(vote | Y), `[M, K + 1, K]`; row 0 of each function is the abstention (0 unless it counts as evidence). */
  conditionals(): Float64Array {
    return this.#confusion;
  }

  /** P(Y), `[K]`. */
  classBalance(): Float64Array {
    return this.#balance;
  }

  #maximise(votes: Votes, posterior: Float64Array, fixed: Float64Array | undefined): void {
    const { classes: k, functions: m, items: n } = votes;
    const { smoothing, abstentionsAreEvidence } = this.#options;
    const confusion = new Float64Array(m * (k + 1) * k);
    const balance = new Float64Array(k).fill(smoothing);
    for (let j = 0; j < m; j++)
      for (let v = abstentionsAreEvidence ? 0 : 1; v <= k; v++)
        for (let y = 0; y < k; y++) confusion[(j * (k + 1) + v) * k + y] = smoothing;
    for (let i = 0; i < n; i++) {
      for (let y = 0; y < k; y++) balance[y] = balance[y]! + posterior[i * k + y]!;
      for (let j = 0; j < m; j++) {
        const vote = votes.at(i, j);
        if (vote === ABSTAIN && !abstentionsAreEvidence) continue;
        const base = (j * (k + 1) + vote + 1) * k;
        for (let y = 0; y < k; y++) confusion[base + y] = confusion[base + y]! + posterior[i * k + y]!;
      }
    }
    for (let j = 0; j < m; j++)
      for (let y = 0; y < k; y++) {
        let sum = 0;
        for (let v = 0; v <= k; v++) sum += confusion[(j * (k + 1) + v) * k + y]!;
        for (let v = 0; v <= k; v++)
          confusion[(j * (k + 1) + v) * k + y] = confusion[(j * (k + 1) + v) * k + y]! / sum;
      }
    this.#confusion = confusion;
    const total = balance.reduce((a, b) => a + b, 0);
    this.#balance = fixed ?? balance.map((x) => x / total);
  }
}
