import { ConfigError } from "@everlong/core";
import type { Mt19937 } from "@everlong/data";
import type { JunctionTree } from "./graph.ts";
import { separated } from "./graph.ts";
import { pythonShuffle } from "./python-shuffle.ts";
import type { Statistics } from "./statistics.ts";

/** The hidden moment E[product of the votes of `members` x Y_target | every function of `zeros` abstains]. */
export interface Moment {
  readonly members: readonly number[];
  readonly target: number;
  readonly zeros: readonly number[];
  /** `compat` only: the target node that the reference code takes for the function of the same number. */
  readonly standIn?: number;
}

/** Three conditionally independent moments; single-triplet solving gives all three a value. */
export type Triplet = readonly [Moment, Moment, Moment];

/** A stable name, in the notation of the reference implementation's dumps. */
export function momentKey(moment: Moment, abstentions: boolean): string {
  const members =
    moment.standIn === undefined ? moment.members.map((i) => `lambda_${i}`) : [`Y_${moment.standIn}`];
  const variables = [...members, `Y_${moment.target}`];
  const quoted = (names: readonly string[]): string => `[${names.map((n) => JSON.stringify(n)).join(", ")}]`;
  if (!abstentions) return quoted(variables);
  const zeros = moment.zeros.length > 0 ? moment.zeros.map((i) => `lambda_${i}`) : ["0"];
  return `[${quoted(variables)}, ${quoted(zeros)}]`;
}

/** How a moment is measured with one pair of other functions. */
export interface Pair {
  readonly first: number;
  readonly second: number;
}

/**
 * All unordered pairs of functions that, with `moment`, are mutually independent given its target.
 * `anyTarget` takes functions of other targets too, where they are independent. `mixTargets` repeats a shortcut of the reference code: without function-function edges it pairs functions of different targets too.
 */
export function independentPairs(
  tree: JunctionTree,
  moment: Moment,
  mixTargets: boolean,
  anyTarget: boolean,
): Pair[] {
  const blocked = new Set([tree.functions + moment.target]);
  const free: number[] = [];
  for (let i = 0; i < tree.functions; i++) {
    if (moment.members.includes(i) || moment.zeros.includes(i)) continue;
    if (mixTargets || separated(tree, moment.members, [i], blocked)) free.push(i);
  }
  const pairsOf = (list: readonly number[]): Pair[] => {
    const pairs: Pair[] = [];
    for (let a = 0; a < list.length; a++)
      for (let b = 0; b < a; b++)
        if (mixTargets || separated(tree, [list[a]!], [list[b]!], blocked))
          pairs.push({ first: list[a]!, second: list[b]! });
    return pairs;
  };
  if (mixTargets || anyTarget) return pairsOf(free);
  // functions of another target say little about this one: they serve only where its own do not suffice
  const own = pairsOf(free.filter((i) => tree.voteTarget[i] === moment.target));
  return own.length > 0 ? own : pairsOf(free);
}

/** |E[SY]| from three observable moments; 0 where the denominator is. */
export function tripletValue(withA: number, withB: number, ab: number): number {
  return ab === 0 ? 0 : Math.sqrt(Math.abs((withA * withB) / ab));
}

/** The mean or median of a list; NaN when it is empty. */
export function aggregate(values: readonly number[], how: "mean" | "median"): number {
  if (values.length === 0) return Number.NaN;
  if (how === "mean") return values.reduce((a, b) => a + b, 0) / values.length;
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/**
 * Greedy disjoint triplets for the single-triplet method, in an order drawn from a Mersenne Twister so that a published seed gives the
 * published triplets.
 * @param nodes node numbers in the shuffled order of the model
 * @param compat also tries targets as third members, as the reference code does
 */
export function singleTriplets(
  tree: JunctionTree,
  moments: readonly Moment[],
  nodes: readonly number[],
  random: Mt19937 | undefined,
  compat: boolean,
): Triplet[] {
  const m = tree.functions;
  const order = [...moments].sort(byName);
  if (random) pythonShuffle(random, order);
  const taken = new Set<string>();
  const key = (x: Moment): string => momentKey(x, true);
  const same = (a: Moment, b: Moment): boolean => key(a) === key(b);
  const nodesOf = (x: Moment): readonly number[] => (x.standIn === undefined ? x.members : [m + x.standIn]);
  const apart = (a: Moment, b: Moment): boolean =>
    separated(tree, nodesOf(a), nodesOf(b), new Set([m + a.target]));
  const sameZeros = (a: Moment, b: Moment): boolean => a.zeros.join() === b.zeros.join();
  const single = (node: number, like: Moment): Moment => ({
    members: [node < m ? node : node - m],
    target: like.target,
    zeros: like.zeros,
    ...(node < m ? {} : { standIn: node - m }),
  });
  // candidates among the moments that are needed anyway
  const needed = (chosen: readonly Moment[]): Moment[] =>
    order.filter(
      (x) =>
        !chosen.some((c) => same(c, x)) &&
        x.target === chosen[0]!.target &&
        sameZeros(x, chosen[0]!) &&
        !(x.members.length > 1 && chosen.some((c) => c.members.length > 1)) &&
        !taken.has(key(x)) &&
        chosen.every((c) => apart(c, x)),
    );
  // candidates among all functions
  const any = (chosen: readonly Moment[], strict: boolean): Moment[] =>
    nodes
      .filter((n) => (n < m ? !(strict && chosen[0]!.zeros.includes(n)) : !strict))
      .map((n) => single(n, chosen[0]!))
      .filter((x) => !chosen.some((c) => same(c, x)) && chosen.every((c) => apart(c, x)));

  const find = (moment: Moment): Triplet | undefined => {
    for (const first of needed([moment])) {
      const chosen = [moment, first];
      const second = needed(chosen)[0] ?? any(chosen, !compat)[0];
      if (second) return [moment, first, second];
    }
    for (const first of any([moment], true)) {
      const second = any([moment, first], true)[0];
      if (second) return [moment, first, second];
    }
    return undefined;
  };

  const triplets: Triplet[] = [];
  for (const moment of order) {
    if (taken.has(key(moment))) continue;
    const triplet = find(moment);
    if (!triplet) throw noTriplet(moment);
    triplets.push(triplet);
    for (const x of triplet) taken.add(key(x));
  }
  return triplets;
}

/** The error for a moment that no two other functions can measure. */
export function noTriplet(moment: Moment): ConfigError {
  return new ConfigError(
    "flyingsquid",
    `no triplet for functions ${moment.members.join(", ")} on target ${moment.target}`,
    {
      expected: "two more functions that are independent of them and of each other, given the target",
      hint: "Drop a dependency edge or add a labelling function.",
    },
  );
}

/** Registers the three observable products of a triplet. */
export function tripletProducts(
  statistics: Statistics,
  [a, b, c]: Triplet,
): { ab: () => number; ac: () => number; bc: () => number } {
  const mean = (x: Moment, y: Moment): (() => number) => {
    const s = statistics.of([...x.members, ...y.members]);
    return () => (s.basis === 0 ? 0 : s.sum / s.basis);
  };
  return { ab: mean(a, b), ac: mean(a, c), bc: mean(b, c) };
}

// Python compares tuples of strings element by element.
function byName(a: Moment, b: Moment): number {
  const list = (x: Moment): string[][] => [
    [...x.members.map((i) => `lambda_${i}`), `Y_${x.target}`],
    x.zeros.length > 0 ? x.zeros.map((i) => `lambda_${i}`) : ["0"],
  ];
  const [x, y] = [list(a), list(b)];
  for (let part = 0; part < 2; part++) {
    const [p, q] = [x[part]!, y[part]!];
    for (let k = 0; k < Math.min(p.length, q.length); k++) if (p[k] !== q[k]) return p[k]! < q[k]! ? -1 : 1;
    if (p.length !== q.length) return p.length - q.length;
  }
  return 0;
}
