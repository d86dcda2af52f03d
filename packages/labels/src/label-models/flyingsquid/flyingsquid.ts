import { ConfigError, DataError, ShapeError, checkOptions } from "@everlong/core";
import { Mt19937 } from "@everlong/data";
import type { Clique, DependencyGraph, JunctionTree } from "./graph.ts";
import { junctionTree } from "./graph.ts";
import type { NegativeRule } from "./marginals.ts";
import { cliqueTable, makeDistribution } from "./marginals.ts";
import { CliquePosterior } from "./posterior.ts";
import { pythonShuffle } from "./python-shuffle.ts";
import { Statistics } from "./statistics.ts";
import type { Moment, Triplet } from "./triplets.ts";
import {
  aggregate,
  independentPairs,
  momentKey,
  noTriplet,
  singleTriplets,
  tripletProducts,
  tripletValue,
} from "./triplets.ts";

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

/** Which statistics a fit needs, and how its hidden moments come from them. */
interface Plan {
  readonly solve: "mean" | "median" | "single";
  readonly tree: JunctionTree;
  expectations(): Map<string, { moment: Moment; value: number }>;
  probability(moment: Moment, expectation: number): number;
  productIsOne(members: readonly number[], zeros: readonly number[]): number;
  abstainTogether(functions: readonly number[]): number;
  /** P(some function of the list abstains). */
  abstains(functions: readonly number[], zeros?: readonly number[]): number;
  /** The mean product of votes. */
  product(members: readonly number[], zeros?: readonly number[]): number;
  pairs(moment: Moment): readonly { readonly first: number; readonly second: number }[];
}

function plan(
  model: FlyingSquid,
  statistics: Statistics,
  solve: "mean" | "median" | "single",
  nodes: readonly number[],
  random: Mt19937 | undefined,
): Plan {
  const { tree, abstentions, compat } = model;
  const mix = compat && tree.independent && solve !== "single";
  const moments = hiddenMoments(tree, abstentions);
  const pairs = new Map<Moment, { first: number; second: number }[]>();
  let triplets: Triplet[] = [];
  if (solve === "single") {
    triplets = singleTriplets(tree, moments, nodes, random, compat);
    for (const t of triplets) tripletProducts(statistics, t);
  }
  for (const moment of moments) {
    const found = independentPairs(tree, moment, mix, compat);
    if (found.length === 0 && solve !== "single") throw noTriplet(moment);
    pairs.set(moment, found);
    const zeros = compat ? [] : moment.zeros;
    for (const { first, second } of found) {
      statistics.of([...moment.members, first], zeros);
      statistics.of([...moment.members, second], zeros);
      statistics.of([first, second]);
    }
  }
  const everyProduct = [
    ...moments,
    ...triplets.flat(),
    ...Array.from({ length: tree.functions }, (_, i) => ({ members: [i], zeros: [] })),
  ];
  for (const { members, zeros } of everyProduct) {
    statistics.of(members);
    statistics.of(members, zeros);
    statistics.of([], zeros);
  }
  for (const { functions } of tree.cliques)
    for (const zeros of subsets(functions)) {
      statistics.of([], zeros);
      for (const members of subsets(functions.filter((f) => !zeros.includes(f))))
        statistics.of(members, zeros);
    }
  const mean = (members: readonly number[], zeros: readonly number[] = []): number => {
    const s = statistics.of(members, zeros);
    return s.basis === 0 ? 0 : s.sum / s.basis;
  };
  const abstains = (members: readonly number[], zeros: readonly number[] = []): number => {
    const s = statistics.of(members, zeros);
    return s.basis === 0 ? 0 : s.noughts / s.basis;
  };
  const abstainTogether = (functions: readonly number[]): number =>
    statistics.of([], functions).basis / statistics.items;

  return {
    solve,
    tree,
    abstains,
    abstainTogether,
    product: mean,
    pairs: (moment) => pairs.get(moment) ?? [],
    productIsOne: (members, zeros) => {
      const s = statistics.of(members, zeros);
      // the reference divides by the items under the condition, although a joint probability is needed
      const of = compat ? s.basis : statistics.items;
      return of === 0 ? 0 : s.ones / of;
    },
    probability: (moment, value) => {
      const zeros = compat ? [] : moment.zeros;
      const none = abstentions ? abstains(moment.members, zeros) : 0;
      return 0.5 * (1 + value - none) * (moment.zeros.length === 0 ? 1 : abstainTogether(moment.zeros));
    },
    expectations: () => {
      const out = new Map<string, { moment: Moment; value: number }>();
      const put = (moment: Moment, value: number): void => {
        out.set(momentKey(moment, abstentions), { moment, value });
      };
      if (solve === "single") {
        for (const [a, b, c] of triplets) {
          const { ab, ac, bc } = tripletProducts(statistics, [a, b, c]);
          put(a, tripletValue(ab(), ac(), bc()));
          put(b, tripletValue(ab(), bc(), ac()));
          put(c, tripletValue(ac(), bc(), ab()));
        }
        return out;
      }
      for (const moment of moments) {
        const zeros = compat ? [] : moment.zeros;
        const values = pairs
          .get(moment)!
          .map(({ first, second }) =>
            tripletValue(
              mean([...moment.members, first], zeros),
              mean([...moment.members, second], zeros),
              mean([first, second]),
            ),
          );
        put(moment, aggregate(values, solve));
      }
      return out;
    },
  };
}

// Every product of functions with the target, under every condition, that the clique tables need.
function hiddenMoments(tree: JunctionTree, abstentions: boolean): Moment[] {
  const moments = new Map<string, Moment>();
  for (const { functions, targets } of tree.cliques) {
    if (functions.length === 0 || targets.length === 0) continue;
    for (const zeros of abstentions ? subsets(functions) : [[]]) {
      for (const members of subsets(functions.filter((f) => !zeros.includes(f)))) {
        if (members.length === 0) continue;
        const moment: Moment = { members, target: targets[0]!, zeros };
        moments.set(momentKey(moment, true), moment);
      }
    }
  }
  return [...moments.values()];
}

function subsets(list: readonly number[]): number[][] {
  return list.reduce<number[][]>((all, x) => [...all, ...all.map((s) => [...s, x])], [[]]);
}

// A moment cannot exceed the probability that its product is not 0; sampling noise in the denominator can push an estimate beyond.
function feasible(p: Plan, all: Map<string, { moment: Moment; value: number }>): void {
  for (const entry of all.values()) {
    const { members, zeros } = entry.moment;
    const most = 1 - p.abstains(members, zeros);
    if (entry.value > most) entry.value = most;
  }
}

// The sign vector that agrees best with the signs of the moments, the majority of the weight positive: greedy flips from all-positive.
function recoverSigns(p: Plan, all: Map<string, { moment: Moment; value: number }>): void {
  const singles = [...all.values()].filter(
    ({ moment }) => moment.members.length === 1 && moment.zeros.length === 0,
  );
  for (let target = 0; target < p.tree.targets; target++) {
    const group = singles.filter(({ moment }) => moment.target === target);
    const sign = group.map(() => 1);
    const pull = (i: number): number => {
      let total = 0;
      for (const { first, second } of p.pairs(group[i]!.moment))
        for (const other of [first, second]) {
          const j = group.findIndex(({ moment }) => moment.members[0] === other);
          if (j >= 0) total += sign[i]! * sign[j]! * p.product([group[i]!.moment.members[0]!, other]);
        }
      return total;
    };
    for (let round = 0; round < group.length * 2; round++) {
      const worst = group.map((_, i) => pull(i));
      const i = worst.indexOf(Math.min(...worst));
      if (i < 0 || worst[i]! >= 0) break;
      sign[i] = -sign[i]!;
    }
    const weight = group.reduce((sum, { value }, i) => sum + sign[i]! * value, 0);
    for (const [i, entry] of group.entries()) entry.value *= sign[i]! * (weight < 0 ? -1 : 1);
  }
}

// E[S a] = E[S Y] E[a Y] for an independent function a: the sign of a product follows from those of single functions.
function signProducts(p: Plan, all: Map<string, { moment: Moment; value: number }>): void {
  const singles = new Map<number, number>();
  for (const { moment, value } of all.values())
    if (moment.members.length === 1 && moment.zeros.length === 0) singles.set(moment.members[0]!, value);
  for (const entry of all.values()) {
    const { members, zeros } = entry.moment;
    if (members.length === 1 && zeros.length === 0) continue;
    if (members.length === 1) {
      entry.value *= Math.sign(singles.get(members[0]!) ?? 1) || 1;
      continue;
    }
    let evidence = 0;
    for (const { first, second } of p.pairs(entry.moment))
      for (const other of [first, second])
        evidence += p.product([...members, other], zeros) * (singles.get(other) ?? 0);
    if (evidence < 0) entry.value = -entry.value;
  }
}

function balanceOf(targets: number, options: SquidFitOptions): Float64Array {
  const states = 2 ** targets;
  const { classBalance, devLabels } = options;
  const balance = new Float64Array(states);
  if (classBalance) {
    if (classBalance.length !== states)
      throw new ShapeError("flyingsquid", "the class balance does not fit the targets", {
        expected: `${states} probabilities (2^${targets})`,
        got: `${classBalance.length}`,
      });
    for (let s = 0; s < states; s++) {
      if (!(classBalance[s]! >= 0))
        throw new DataError("flyingsquid", "the class balance is no distribution", {
          expected: "numbers of at least 0",
          got: `${classBalance[s]}`,
        });
      balance[s] = classBalance[s]!;
    }
  } else if (devLabels) {
    for (let i = 0; i * targets < devLabels.length; i++) {
      let state = 0;
      for (let t = 0; t < targets; t++) {
        const y = devLabels[i * targets + t];
        if (y !== 1 && y !== -1)
          throw new DataError("flyingsquid", `label outside the classes at row ${i}`, {
            expected: "-1 or +1",
            got: `${y}`,
          });
        state = state * 2 + (y === 1 ? 1 : 0);
      }
      balance[state]!++;
    }
  } else balance.fill(1);
  const sum = balance.reduce((a, b) => a + b, 0);
  if (!(sum > 0))
    throw new DataError("flyingsquid", "the class balance is no distribution", {
      expected: "a positive sum",
      got: `${sum}`,
    });
  return balance.map((x) => x / sum);
}

function balanceMarginal(balance: Float64Array, targets: number, keep: readonly number[]): Float64Array {
  const out = new Float64Array(2 ** keep.length);
  for (let s = 0; s < balance.length; s++) {
    let index = 0;
    for (const t of keep) index = index * 2 + ((s >> (targets - 1 - t)) & 1);
    out[index] = out[index]! + balance[s]!;
  }
  return out;
}

function targetPositive(balance: Float64Array, targets: number, target: number): number {
  return balanceMarginal(balance, targets, [target])[1]!;
}
