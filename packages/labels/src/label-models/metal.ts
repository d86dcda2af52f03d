import { ConfigError, checkOptions } from "@everlong/core";
import { ABSTAIN } from "../votes/votes.ts";
import type { Votes } from "../votes/votes.ts";
import { balanceOrUniform, requireOverlap, requireVotes } from "./class-balance.ts";
import { independentPosterior } from "./independent-votes.ts";
import type { LabelModel, LabelModelFit, ModelState } from "./label-model.ts";
import { stateNumbers } from "./label-model.ts";

/** Options of {@link Metal}. */
export interface MetalOptions {
  /** Gradient steps. Default 500. */
  readonly epochs?: number;
  /** Step size of Adam. Default 0.01. */
  readonly rate?: number;
  /** Pull towards the start, `|l2 (mu - mu_0)|^2`. Default 0. */
  readonly l2?: number;
  /** P(vote is right | it votes) at the start, for all functions or each. Default 0.7. */
  readonly precision?: number | ArrayLike<number>;
  /** Least probability in a table. Default min(0.01, a tenth of 1/n rounded down to a power of ten). */
  readonly floor?: number;
}

/**
 * Matrix completion for labels (Ratner et al. 2019, arXiv 1810.02840), the model of Snorkel: mu = P(vote | Y) is fitted so that
 * mu diag(P) mu^T matches the observed overlaps O of different functions and its row sums match their vote rates. Abstentions say nothing
 * about Y. Deterministic: full-batch Adam on the closed-form gradient.
 */
export class Metal implements LabelModel {
  readonly #options: Required<Omit<MetalOptions, "floor">> & { floor?: number };
  #mu: Float64Array = new Float64Array(0);
  #balance: Float64Array = new Float64Array(0);
  #coverage: Float64Array = new Float64Array(0);
  #classes = 2;

  constructor(options: MetalOptions = {}) {
    checkOptions("metal", options, ["epochs", "rate", "l2", "precision", "floor"]);
    this.#options = { epochs: 500, rate: 0.01, l2: 0, precision: 0.7, ...options };
  }

  fit(votes: Votes, options: LabelModelFit = {}): this {
    requireVotes("metal", votes);
    requireOverlap("metal", votes);
    const { classes: k, functions: m, items: n } = votes;
    if (m < 3)
      throw new ConfigError("metal", "too few labelling functions", {
        expected: "at least 3",
        got: `${m}`,
        hint: "With one or two functions use the majority vote.",
      });
    const d = m * k;
    this.#classes = k;
    this.#balance = balanceOrUniform("metal", k, options.classBalance);
    const overlaps = observedOverlaps(votes);
    const rate = Float64Array.from({ length: d }, (_, r) => overlaps[r * d + r]!);
    this.#coverage = Float64Array.from({ length: m }, (_, j) => {
      let sum = 0;
      for (let c = 0; c < k; c++) sum += rate[j * k + c]!;
      return sum;
    });
    const floor = this.#options.floor ?? Math.min(0.01, 1 / 10 ** Math.ceil(Math.log10(n)));
    const start = this.#start(rate, m, k, floor);
    this.#mu = this.#descend(Float64Array.from(start), start, overlaps, rate, k);
    this.#mu = this.#mu.map((x) => Math.min(1 - floor, Math.max(floor, x)));
    this.#unpermute(m, k);
    return this;
  }

  predictProba(votes: Votes): Float64Array {
    return independentPosterior(votes, this.#balance, this.#mu, (j, vote) =>
      vote === ABSTAIN ? -1 : j * votes.classes + vote,
    );
  }

  state(): ModelState {
    return {
      classes: this.#classes,
      mu: [...this.#mu],
      balance: [...this.#balance],
      coverage: [...this.#coverage],
    };
  }

  restore(state: ModelState): this {
    this.#classes = Number(state["classes"]);
    this.#mu = stateNumbers(state, "mu");
    this.#balance = stateNumbers(state, "balance");
    this.#coverage = stateNumbers(state, "coverage");
    return this;
  }

  accuracies(): Float64Array {
    const k = this.#classes;
    return this.#coverage.map((coverage, j) => {
      let right = 0;
      for (let y = 0; y < k; y++) right += this.#mu[(j * k + y) * k + y]! * this.#balance[y]!;
      return coverage === 0 ? 1 / k : Math.min(1, Math.max(1e-6, right / coverage));
    });
  }

  /** P(vote | Y), `[M, K + 1, K]`; row 0 of each function is the abstention. */
  conditionals(): Float64Array {
    const k = this.#classes;
    const m = this.#coverage.length;
    const out = new Float64Array(m * (k + 1) * k);
    for (let j = 0; j < m; j++)
      for (let y = 0; y < k; y++) {
        let sum = 0;
        for (let v = 0; v < k; v++) {
          const p = this.#mu[(j * k + v) * k + y]!;
          out[(j * (k + 1) + v + 1) * k + y] = p;
          sum += p;
        }
        out[j * (k + 1) * k + y] = Math.max(0, 1 - sum);
      }
    return out;
  }

  #start(rate: Float64Array, m: number, k: number, floor: number): Float64Array {
    const { precision } = this.#options;
    const mu = new Float64Array(m * k * k);
    for (let j = 0; j < m; j++) {
      const right = typeof precision === "number" ? precision : precision[j]!;
      for (let v = 0; v < k; v++)
        for (let y = 0; y < k; y++) {
          const p = (v === y ? right : (1 - right) / (k - 1)) * (rate[j * k + v]! / this.#balance[y]!);
          mu[(j * k + v) * k + y] = Math.min(1 - floor, Math.max(floor, p));
        }
    }
    return mu;
  }

  #descend(
    mu: Float64Array,
    start: Float64Array,
    overlaps: Float64Array,
    rate: Float64Array,
    k: number,
  ): Float64Array {
    const d = rate.length;
    const p = this.#balance;
    const { epochs, rate: step, l2 } = this.#options;
    const gradient = new Float64Array(mu.length);
    const first = new Float64Array(mu.length);
    const second = new Float64Array(mu.length);
    for (let epoch = 1; epoch <= epochs; epoch++) {
      for (let x = 0; x < mu.length; x++) gradient[x] = 2 * l2 * l2 * (mu[x]! - start[x]!);
      for (let r = 0; r < d; r++) {
        const block = Math.floor(r / k);
        for (let c = r + 1; c < d; c++) {
          if (Math.floor(c / k) === block) continue;
          let fit = -overlaps[r * d + c]!;
          for (let y = 0; y < k; y++) fit += mu[r * k + y]! * p[y]! * mu[c * k + y]!;
          // each off-diagonal pair stands twice in the norm
          for (let y = 0; y < k; y++) {
            gradient[r * k + y] = gradient[r * k + y]! + 4 * fit * p[y]! * mu[c * k + y]!;
            gradient[c * k + y] = gradient[c * k + y]! + 4 * fit * p[y]! * mu[r * k + y]!;
          }
        }
        let sum = -rate[r]!;
        for (let y = 0; y < k; y++) sum += mu[r * k + y]! * p[y]!;
        for (let y = 0; y < k; y++) gradient[r * k + y] = gradient[r * k + y]! + 2 * sum * p[y]!;
      }
      const correct1 = 1 - 0.9 ** epoch;
      const correct2 = 1 - 0.999 ** epoch;
      for (let x = 0; x < mu.length; x++) {
        first[x] = 0.9 * first[x]! + 0.1 * gradient[x]!;
        second[x] = 0.999 * second[x]! + 0.001 * gradient[x]! ** 2;
        mu[x] = mu[x]! - (step * (first[x]! / correct1)) / (Math.sqrt(second[x]! / correct2) + 1e-8);
      }
    }
    return mu;
  }

  // Columns of classes with the same prior may come out swapped: the assignment with the largest diagonal puts them right.
  #unpermute(m: number, k: number): void {
    const gain = new Float64Array(k * k);
    for (let j = 0; j < m; j++)
      for (let v = 0; v < k; v++)
        for (let y = 0; y < k; y++) gain[v * k + y] = gain[v * k + y]! + this.#mu[(j * k + v) * k + y]!;
    const column = bestAssignment(gain, k, (a, b) => Math.abs(this.#balance[a]! - this.#balance[b]!) < 1e-9);
    const old = Float64Array.from(this.#mu);
    for (let r = 0; r < m * k; r++)
      for (let y = 0; y < k; y++) this.#mu[r * k + y] = old[r * k + column[y]!]!;
  }
}

/** O = share of items on which two (function, class) votes coincide, `[MK, MK]`. */
function observedOverlaps(votes: Votes): Float64Array {
  const { classes: k, functions: m, items: n } = votes;
  const d = m * k;
  const out = new Float64Array(d * d);
  const on: number[] = [];
  for (let i = 0; i < n; i++) {
    on.length = 0;
    for (let j = 0; j < m; j++) if (votes.at(i, j) !== ABSTAIN) on.push(j * k + votes.at(i, j));
    for (const a of on) for (const b of on) out[a * d + b] = out[a * d + b]! + 1 / n;
  }
  return out;
}

/** For every row the column that maximises the total gain, by dynamic programming over subsets (K up to 16). */
export function bestAssignment(
  gain: Float64Array,
  k: number,
  allowed: (row: number, column: number) => boolean,
): number[] {
  if (k > 16) return Array.from({ length: k }, (_, y) => y);
  const best = new Float64Array(1 << k).fill(-Infinity);
  const choice = new Int8Array(1 << k).fill(-1);
  best[0] = 0;
  for (let set = 0; set < 1 << k; set++) {
    if (best[set] === -Infinity) continue;
    let row = 0;
    for (let bits = set; bits > 0; bits &= bits - 1) row++;
    if (row >= k) continue;
    for (let c = 0; c < k; c++) {
      if ((set >> c) & 1 || !allowed(row, c)) continue;
      const next = set | (1 << c);
      const value = best[set]! + gain[row * k + c]!;
      if (value > best[next]!) {
        best[next] = value;
        choice[next] = c;
      }
    }
  }
  const out: number[] = [];
  for (let set = (1 << k) - 1, row = k - 1; row >= 0; row--) {
    out[row] = choice[set]!;
    set &= ~(1 << choice[set]!);
  }
  return out;
}
