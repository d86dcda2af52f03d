import { ConfigError, DataError, ShapeError, checkOptions } from "@everlong/core";
import { Mt19937 } from "@everlong/data";
import type { Clique, DependencyGraph, JunctionTree } from "./graph.ts";
import { junctionTree } from "./graph.ts";
import type { NegativeRule } from "./marginals.ts";
import { cliqueTable, makeDistribution } from "./marginals.ts";
import type { Plan } from "./plan.ts";
import { plan } from "./plan.ts";
import { CliquePosterior } from "./posterior.ts";
import { balanceMarginal, balanceOf, targetPositive } from "./prior.ts";
import { pythonShuffle } from "./python-shuffle.ts";
import { feasible, recoverSigns, signProducts } from "./signs.ts";
import { Statistics } from "./statistics.ts";
import { momentKey } from "./triplets.ts";

/** Options of {@link FlyingSquid}: the graph, and how votes may look. */
export interface FlyingSquidOptions extends DependencyGraph {
  /** Whether a function may abstain (vote 0). Default true. */
  readonly abstentions?: boolean;
  /** Seed of the order in which single triplets are formed; null keeps the natural order. Default 0. */
  readonly tripletSeed?: number | null;
  /**
   * `"flyingsquid"` repeats the original's numbers: one factor of the prior too many (separators counted to degree - 1), separators with
   * functions left out, triplets across targets, unconditional moments for conditional ones, every sign positive. Default: the right ones.
   */
  readonly compat?: "flyingsquid";
}

/** Options of {@link FlyingSquid.fit}. */
export interface SquidFitOptions {
  /** P(Y) over the 2^V sign vectors in lexicographic order (index 0: all -1). Normalised. Default uniform. */
  readonly classBalance?: ArrayLike<number>;
  /** Labels -1/+1 `[n, V]` to count the class balance from, when `classBalance` is not given. */
  readonly devLabels?: ArrayLike<number>;
  /** How the estimates of several triplets become one; `single` uses one triplet per function. Default `mean`. */
  readonly solve?: "mean" | "median" | "single";
  /** What happens to negative entries of a clique's table; `clamp` also limits each moment to what the vote rates allow. Default `flip`. */
  readonly negative?: NegativeRule;
  /**
   * `positive`: every function is better than random (the paper's assumption). `recover`: signs from the signs of the pairwise moments, so
   * that most functions are better than random. Default `positive`.
   */
  readonly signs?: "positive" | "recover";
}

/** A fitted hidden moment. */
export interface SquidMoment {
  readonly key: string;
  /** E[product x Y]. */
  readonly expectation: number;
  /** P(product x Y = 1, and the condition holds). */
  readonly probability: number;
}

/**
 * FlyingSquid: a label model with a closed-form fit (Fu, Chen et al., ICML 2020, arXiv 2002.11955).
 *
 * Binary votes -1 / 0 (abstain) / +1 `[N, M]`. The accuracies E[vote x Y] of three functions that are independent given Y follow from
 * their agreement alone: |a_i| = sqrt(|M_ij M_ik / M_jk|) with M the second moments. Joint tables per clique of the dependency graph,
 * then exact inference on its junction tree. Streams: {@link FlyingSquid.update} adds a batch, {@link FlyingSquid.solve} refits at no further cost.
 *
 * @example
 * const model = new FlyingSquid({ functions: 3 });
 * model.fit(Int8Array.of(1, 1, 0, -1, -1, -1, 1, 1, -1), { solve: "median" });
 * model.predictMarginals(Int8Array.of(1, 1, -1)); // P(Y = +1), [N * V]
 */
export class FlyingSquid {
  readonly tree: JunctionTree;
  readonly abstentions: boolean;
  readonly compat: boolean;
  readonly #nodes: number[];
  readonly #random: Mt19937 | undefined;
  #statistics = new Statistics();
  #plan: Plan | undefined;
  #posterior: CliquePosterior | undefined;
  #moments = new Map<string, SquidMoment>();
  #tables: { clique: Clique; table: Float64Array }[] = [];
  #balance: Float64Array = new Float64Array(0);

  constructor(options: FlyingSquidOptions) {
    checkOptions("flyingsquid", options, [
      "functions",
      "targets",
      "targetEdges",
      "voteEdges",
      "functionEdges",
      "abstentions",
      "tripletSeed",
      "compat",
    ]);
    const { abstentions = true, tripletSeed = 0, compat } = options;
    this.tree = junctionTree(options);
    this.abstentions = abstentions;
    this.compat = compat === "flyingsquid";
    if (compat !== undefined && !this.compat)
      throw new ConfigError("flyingsquid", "unknown compat", {
        expected: '"flyingsquid"',
        got: `"${compat as string}"`,
      });
    const { functions: m, targets: v } = this.tree;
    const name = (n: number): string => (n < m ? `lambda_${n}` : `Y_${n - m}`);
    this.#nodes = Array.from({ length: m + v }, (_, n) => n).sort((a, b) => (name(a) < name(b) ? -1 : 1));
    if (tripletSeed !== null) {
      this.#random = new Mt19937([tripletSeed]);
      pythonShuffle(this.#random, this.#nodes);
    }
  }

  /** Fits on all votes at once: {@link reset}, {@link update}, {@link solve}. */
  fit(votes: Int8Array, options: SquidFitOptions = {}): this {
    this.reset(options.solve);
    return this.update(votes).solve(options);
  }

  /** Forgets the statistics. `solve` decides which moments a stream must keep. */
  reset(solve: SquidFitOptions["solve"] = "mean"): this {
    this.#statistics = new Statistics();
    this.#plan = plan(this, this.#statistics, solve, this.#nodes, this.#random);
    return this;
  }

  /** Adds a batch of votes `[n, M]` to the statistics. */
  update(votes: Int8Array): this {
    if (!this.#plan) this.reset();
    this.#check(votes);
    this.#statistics.add(votes, this.tree.functions);
    return this;
  }

  /** Turns the statistics into tables. Cheap, so that a stream may call it after every batch. */
  solve(options: SquidFitOptions = {}): this {
    checkOptions("flyingsquid", options, ["classBalance", "devLabels", "solve", "negative", "signs"]);
    const { negative = "flip", signs = "positive" } = options;
    if (!this.#plan || this.#statistics.items === 0)
      throw new DataError("flyingsquid", "there are no votes to learn from", {
        expected: "at least one row of votes",
        got: "none",
      });
    if (options.solve !== undefined && options.solve !== this.#plan.solve)
      throw new ConfigError("flyingsquid", "the stream was started for another method", {
        expected: `solve: "${this.#plan.solve}"`,
        got: `"${options.solve}"`,
        hint: `Call reset("${options.solve}") before the first update.`,
      });
    this.#balance = balanceOf(this.tree.targets, options);
    const expectations = this.#plan.expectations();
    if (!this.compat) {
      if (negative === "clamp") feasible(this.#plan, expectations);
      if (signs === "recover") recoverSigns(this.#plan, expectations);
      signProducts(this.#plan, expectations);
    }
    this.#moments = new Map();
    for (const [key, { moment, value }] of expectations)
      this.#moments.set(key, {
        key,
        expectation: value,
        probability: this.#plan.probability(moment, value),
      });
    this.#tables = this.tree.cliques.map((clique) => ({
      clique,
      table: this.#table(clique, negative),
    }));
    this.#posterior = new CliquePosterior(this.tree, this.#tables, {
      abstentions: this.abstentions,
      balance: this.#balance,
      compat: this.compat,
    });
    return this;
  }

  /** P(Y | votes) over the 2^V sign vectors in lexicographic order, `[N, 2^V]`. */
  predictProba(votes: Int8Array): Float64Array {
    this.#check(votes);
    return this.#fitted().joint(votes);
  }

  /** The most probable sign vector of each item, `[N, V]` of -1 and +1; of equals the first. */
  predict(votes: Int8Array): Int8Array {
    const { targets: v } = this.tree;
    const joint = this.predictProba(votes);
    const states = 2 ** v;
    const out = new Int8Array((joint.length / states) * v);
    for (let i = 0; i * states < joint.length; i++) {
      let best = 0;
      // equal up to rounding is equal
      for (let s = 1; s < states; s++)
        if (joint[i * states + s]! > joint[i * states + best]! * (1 + 1e-12)) best = s;
      for (let t = 0; t < v; t++) out[i * v + t] = (best >> (v - 1 - t)) & 1 ? 1 : -1;
    }
    return out;
  }

  /** P(Y_t = +1 | votes) for every target, `[N, V]`. */
  predictMarginals(votes: Int8Array): Float64Array {
    const { targets: v } = this.tree;
    const joint = this.predictProba(votes);
    const states = 2 ** v;
    const out = new Float64Array((joint.length / states) * v);
    for (let i = 0; i * states < joint.length; i++)
      for (let s = 0; s < states; s++)
        for (let t = 0; t < v; t++)
          if ((s >> (v - 1 - t)) & 1) out[i * v + t] = out[i * v + t]! + joint[i * states + s]!;
    return out;
  }

  /** P(vote_i = Y) including abstentions (so it is at most the coverage), `[M]`. */
  coverageAccuracies(): Float64Array {
    this.#fitted();
    return Float64Array.from({ length: this.tree.functions }, (_, i) => this.#moment([i]).probability);
  }

  /** P(vote_i = Y | function i votes), `[M]`: the accuracy people mean. */
  accuracies(): Float64Array {
    this.#fitted();
    return Float64Array.from({ length: this.tree.functions }, (_, i) => {
      const abstains = this.#plan!.abstains([i]);
      return abstains >= 1 ? 0.5 : this.#moment([i]).probability / (1 - abstains);
    });
  }

  /** Every hidden moment that was estimated, by name. */
  moments(): ReadonlyMap<string, SquidMoment> {
    return this.#moments;
  }

  /** The clique tables in the order of the junction tree: votes of the first function slowest, target fastest. */
  tables(): readonly { clique: Clique; table: Float64Array }[] {
    return this.#tables;
  }

  /** P(Y) in use, `[2^V]`. */
  classBalance(): Float64Array {
    return this.#balance;
  }

  /** Takes tables (one after another, in the order of {@link tables}) and P(Y) of a fitted model with the same graph. */
  restore(tables: Float64Array, balance: Float64Array): this {
    const sizes = this.tree.cliques.map(
      ({ functions, targets }) => (this.abstentions ? 3 : 2) ** functions.length * 2 ** targets.length,
    );
    const wanted = sizes.reduce((a, b) => a + b, 0);
    if (tables.length !== wanted)
      throw new ShapeError("flyingsquid", "the saved tables belong to another graph", {
        expected: `${wanted} numbers`,
        got: `${tables.length}`,
      });
    let at = 0;
    this.#balance = balance;
    this.#tables = this.tree.cliques.map((clique, c) => ({
      clique,
      table: tables.slice(at, (at += sizes[c]!)),
    }));
    this.#posterior = new CliquePosterior(this.tree, this.#tables, {
      abstentions: this.abstentions,
      balance,
      compat: this.compat,
    });
    return this;
  }

  #moment(members: readonly number[], zeros: readonly number[] = []): SquidMoment {
    const target = this.tree.voteTarget[members[0]!]!;
    return this.#moments.get(momentKey({ members, target, zeros }, this.abstentions))!;
  }

  #fitted(): CliquePosterior {
    if (!this.#posterior)
      throw new ConfigError("flyingsquid", "the model is not fitted", {
        hint: "Call fit(votes) first.",
      });
    return this.#posterior;
  }

  #check(votes: Int8Array): void {
    const m = this.tree.functions;
    if (votes.length % m !== 0)
      throw new ShapeError("flyingsquid", "votes do not fill rows of functions", {
        expected: `a multiple of ${m} votes`,
        got: `${votes.length}`,
      });
    for (let i = 0; i < votes.length; i++) {
      const vote = votes[i]!;
      if (vote === 1 || vote === -1 || (vote === 0 && this.abstentions)) continue;
      throw new DataError(
        "flyingsquid",
        vote === 0
          ? `function ${i % m} abstains on row ${Math.floor(i / m)}, but abstentions are off`
          : `vote outside the classes at row ${Math.floor(i / m)}, function ${i % m}`,
        { expected: this.abstentions ? "-1, 0 or +1" : "-1 or +1", got: `${vote}` },
      );
    }
  }

  #table(clique: Clique, negative: NegativeRule): Float64Array {
    const { functions, targets } = clique;
    if (functions.length === 0) return balanceMarginal(this.#balance, this.tree.targets, targets);
    const observed = this.#plan!;
    const positive =
      targets.length === 0 ? 0.5 : targetPositive(this.#balance, this.tree.targets, targets[0]!);
    const table = cliqueTable({
      size: functions.length,
      abstentions: this.abstentions,
      probability: (members, withTarget, zeros) => {
        const of = members.map((p) => functions[p]!);
        const off = zeros.map((p) => functions[p]!);
        if (members.length === 0) return observed.abstainTogether(off) * (withTarget ? positive : 1);
        if (!withTarget) return observed.productIsOne(of, off);
        if (targets.length === 0) return 0.5 * observed.productIsOne(of, off);
        return this.#moment(of, off).probability;
      },
    });
    return makeDistribution(table, negative);
  }
}
