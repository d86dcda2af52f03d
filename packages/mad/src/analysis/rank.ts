// Rank correlation, between MAD scores and losses for one.

import { ConfigError } from "@everlong/core";
import { Pcg64 } from "@everlong/data";
import { bootstrap, type Estimate, type ResampleOptions } from "./resample.ts";

/** Ranks from 1; equal values share the mean of theirs. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).toSorted((a, b) => values[a]! - values[b]!);
  const found = values.map(() => 0);
  for (let i = 0; i < order.length;) {
    let j = i;
    while (j + 1 < order.length && values[order[j + 1]!] === values[order[i]!]) j++;
    for (let k = i; k <= j; k++) found[order[k]!] = (i + j) / 2 + 1;
    i = j + 1;
  }
  return found;
}

/** Spearman's rho: the correlation of ranks. NaN when one side is constant. */
export function spearman(x: readonly number[], y: readonly number[]): number {
  const [a, b] = [ranks(x), ranks(y)];
  const m = (x.length + 1) / 2;
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    ab += (a[i]! - m) * (b[i]! - m);
    aa += (a[i]! - m) ** 2;
    bb += (b[i]! - m) ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}

/** Kendall's tau-b, which allows for ties (Kendall 1945). NaN when one side is constant. */
export function kendall(x: readonly number[], y: readonly number[]): number {
  let [s, pairsX, pairsY] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    for (let j = 0; j < i; j++) {
      const [dx, dy] = [Math.sign(x[i]! - x[j]!), Math.sign(y[i]! - y[j]!)];
      s += dx * dy;
      pairsX += Math.abs(dx);
      pairsY += Math.abs(dy);
    }
  }
  return s / Math.sqrt(pairsX * pairsY);
}

export interface RankCorrelation {
  readonly spearman: Estimate;
  readonly kendall: Estimate;
  /** Two-sided, of Spearman's rho among permutations of one side. */
  readonly pValue: number;
  readonly pairs: number;
}

const PERMUTATIONS = 9999;

/**
 * Both coefficients with bootstrap intervals over pairs, and a permutation test.
 *
 * @throws ConfigError for fewer than four pairs, or a side that is constant
 */
export function rankCorrelation(
  x: readonly number[],
  y: readonly number[],
  options: ResampleOptions = {},
): RankCorrelation {
  if (x.length !== y.length || x.length < 4) {
    throw new ConfigError("rank correlation", "needs pairs", {
      expected: "at least 4",
      got: `${x.length} and ${y.length} values`,
    });
  }
  const both = (a: readonly number[], b: readonly number[]): { spearman: number; kendall: number } => ({
    spearman: spearman(a, b),
    kendall: kendall(a, b),
  });
  const point = both(x, y);
  if (Number.isNaN(point.spearman)) throw new ConfigError("rank correlation", "one side is constant");
  const found = bootstrap(
    x.length,
    point,
    (rows) =>
      both(
        rows.map((i) => x[i]!),
        rows.map((i) => y[i]!),
      ),
    { resamples: 2000, ...options },
  );
  const bits = new Pcg64(options.seed ?? 0);
  const shuffled = [...y];
  let extreme = 0;
  for (let p = 0; p < PERMUTATIONS; p++) {
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = Math.floor(bits.double() * (i + 1));
      [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
    }
    if (Math.abs(spearman(x, shuffled)) >= Math.abs(point.spearman) - 1e-12) extreme++;
  }
  return { ...found, pValue: (extreme + 1) / (PERMUTATIONS + 1), pairs: x.length };
}
