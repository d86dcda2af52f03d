import { ShapeError } from "@everlong/core";
import { ABSTAIN } from "../votes/votes.ts";
import type { Votes } from "../votes/votes.ts";

/** One labelling function in numbers. */
export interface FunctionSummary {
  readonly name: string;
  /** Classes it ever votes, ascending. */
  readonly polarity: readonly number[];
  /** Share of items it votes on. */
  readonly coverage: number;
  /** Share of items on which another function votes too. */
  readonly overlaps: number;
  /** Share of items on which another function votes otherwise. */
  readonly conflicts: number;
  /** With labels: right votes, wrong votes, and their accuracy (null without a vote). */
  readonly correct?: number;
  readonly incorrect?: number;
  readonly accuracy?: number | null;
}

/** All functions in numbers. */
export interface VoteAnalysis {
  readonly functions: readonly FunctionSummary[];
  /** Share of items with at least one vote, with at least two, and with votes that disagree. */
  readonly coverage: number;
  readonly overlap: number;
  readonly conflict: number;
}

/** Polarity, coverage, overlaps, conflicts and, with labels, empirical accuracies. */
export function analyzeFunctions(votes: Votes, labels?: ArrayLike<number>): VoteAnalysis {
  const { items: n, functions: m } = votes;
  if (labels && labels.length !== n)
    throw new ShapeError("analysis", "labels and votes differ in length", {
      expected: `${n}`,
      got: `${labels.length}`,
    });
  const counts = Array.from({ length: m }, () => ({ on: 0, over: 0, against: 0, right: 0 }));
  const classes = Array.from({ length: m }, () => new Set<number>());
  let [covered, overlapped, conflicted] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    const said: number[] = [];
    for (let j = 0; j < m; j++) if (votes.at(i, j) !== ABSTAIN) said.push(j);
    const different = new Set(said.map((j) => votes.at(i, j))).size > 1;
    if (said.length > 0) covered++;
    if (said.length > 1) overlapped++;
    if (different) conflicted++;
    for (const j of said) {
      const c = counts[j]!;
      c.on++;
      classes[j]!.add(votes.at(i, j));
      if (said.length > 1) c.over++;
      if (said.some((other) => votes.at(i, other) !== votes.at(i, j))) c.against++;
      if (labels && labels[i] === votes.at(i, j)) c.right++;
    }
  }
  return {
    functions: counts.map((c, j) => ({
      name: votes.names[j]!,
      polarity: [...classes[j]!].sort((a, b) => a - b),
      coverage: c.on / n,
      overlaps: c.over / n,
      conflicts: c.against / n,
      ...(labels
        ? {
            correct: c.right,
            incorrect: c.on - c.right,
            accuracy: c.on === 0 ? null : c.right / c.on,
          }
        : {}),
    })),
    coverage: covered / n,
    overlap: overlapped / n,
    conflict: conflicted / n,
  };
}

/** `[M, M]`: share of items on which both functions vote and disagree. */
export function conflictMatrix(votes: Votes): Float64Array {
  const { items: n, functions: m } = votes;
  const out = new Float64Array(m * m);
  for (let i = 0; i < n; i++)
    for (let a = 0; a < m; a++) {
      const vote = votes.at(i, a);
      if (vote === ABSTAIN) continue;
      for (let b = 0; b < m; b++) {
        const other = votes.at(i, b);
        if (other !== ABSTAIN && other !== vote) out[a * m + b] = out[a * m + b]! + 1 / n;
      }
    }
  return out;
}

/** The analysis as an aligned text table. */
export function formatAnalysis(analysis: VoteAnalysis): string {
  const withLabels = analysis.functions.some((f) => f.accuracy !== undefined);
  const head = ["function", "polarity", "coverage", "overlaps", "conflicts"];
  if (withLabels) head.push("correct", "incorrect", "accuracy");
  const body = analysis.functions.map((f) => [
    f.name,
    `[${f.polarity.join(", ")}]`,
    f.coverage.toFixed(4),
    f.overlaps.toFixed(4),
    f.conflicts.toFixed(4),
    ...(withLabels
      ? [
          String(f.correct),
          String(f.incorrect),
          f.accuracy === null || f.accuracy === undefined ? "-" : f.accuracy.toFixed(4),
        ]
      : []),
  ]);
  return formatTable([head, ...body]);
}

/** Rows of cells as aligned text; the first column is left-aligned. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const width = rows[0]!.map((_, c) => Math.max(...rows.map((row) => row[c]!.length)));
  return rows
    .map((row) =>
      row
        .map((x, c) => (c === 0 ? x.padEnd(width[c]!) : x.padStart(width[c]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
