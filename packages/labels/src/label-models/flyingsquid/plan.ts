import type { Mt19937 } from "@everlong/data";
import type { JunctionTree } from "./graph.ts";
import type { Statistics } from "./statistics.ts";
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

/** Hidden moments with their estimates, by name. */
export type MomentEstimates = Map<string, { moment: Moment; value: number }>;

/** Which statistics a fit needs, and how its hidden moments come from them. */
export interface Plan {
  readonly solve: "mean" | "median" | "single";
  readonly tree: JunctionTree;
  expectations(): MomentEstimates;
  probability(moment: Moment, expectation: number): number;
  productIsOne(members: readonly number[], zeros: readonly number[]): number;
  abstainTogether(functions: readonly number[]): number;
  /** P(some function of the list abstains). */
  abstains(functions: readonly number[], zeros?: readonly number[]): number;
  /** The mean product of votes. */
  product(members: readonly number[], zeros?: readonly number[]): number;
  pairs(moment: Moment): readonly { readonly first: number; readonly second: number }[];
}

/** Registers every statistic that the method and the cliques need. */
export function plan(
  model: { readonly tree: JunctionTree; readonly abstentions: boolean; readonly compat: boolean },
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
