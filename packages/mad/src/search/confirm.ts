// A search picks the luckiest of many: its best is measured again under seeds that the search never saw, beside the best of
// its parents, before anything is said about it.

import { invariant } from "@everlong/core";

/** Scores of one stack by fresh seed. */
export interface Repeated {
  readonly stack: string;
  readonly scores: readonly number[];
}

/** A difference of means, paired by seed. */
export interface Difference {
  readonly against: string;
  readonly mean: number;
  /** 90 % interval of Student's t; infinite for one seed. */
  readonly low: number;
  readonly high: number;
}

export interface Verdict {
  readonly stack: string;
  readonly scores: readonly number[];
  /** Against each parent. */
  readonly differences: readonly Difference[];
  /** Whether every interval lies above 0. */
  readonly beatsParents: boolean;
}

/** 95 % quantiles of Student's t by degrees of freedom, 1 to 12; the normal's beyond. */
const T95 = [6.314, 2.92, 2.353, 2.132, 2.015, 1.943, 1.895, 1.86, 1.833, 1.812, 1.796, 1.782];

/** Mean of `a - b`, seed by seed, with its interval. */
export function pairedDifference(a: Repeated, b: Repeated): Difference {
  invariant(a.scores.length === b.scores.length, "pairs of scores");
  const d = a.scores.map((x, i) => x - b.scores[i]!);
  const n = d.length;
  const mean = d.reduce((s, x) => s + x, 0) / n;
  const variance = d.reduce((s, x) => s + (x - mean) ** 2, 0) / Math.max(1, n - 1);
  const half = n < 2 ? Number.POSITIVE_INFINITY : (T95[n - 2] ?? 1.645) * Math.sqrt(variance / n);
  return { against: b.stack, mean, low: mean - half, high: mean + half };
}

/** Compares the candidate with each parent. */
export function judge(candidate: Repeated, parents: readonly Repeated[]): Verdict {
  const differences = parents.map((p) => pairedDifference(candidate, p));
  return {
    stack: candidate.stack,
    scores: candidate.scores,
    differences,
    beatsParents: differences.length > 0 && differences.every((d) => d.low > 0),
  };
}

/** The verdict in a sentence or two. */
export function verdictText(v: Verdict): string {
  const number = (x: number): string => (Number.isFinite(x) ? x.toFixed(3) : "?");
  const lines = v.differences.map(
    (d) => `  against ${d.against}: ${number(d.mean)} [${number(d.low)}, ${number(d.high)}]`,
  );
  const n = v.scores.length;
  const mean = v.scores.reduce((a, b) => a + b, 0) / n;
  const head = v.beatsParents
    ? `${v.stack} beats all its parents under ${n} fresh seeds (mean ${number(mean)}):`
    : `${v.stack} is not shown to beat all its parents under ${n} fresh seeds (mean ${number(mean)}):`;
  return [head, ...lines].join("\n");
}
