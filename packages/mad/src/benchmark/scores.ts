// MAD scores: for each setting the best run of its sweep, over settings the mean by task, over tasks the mean.

import { ConfigError } from "@everlong/core";
import { canonical } from "./cell.ts";
import type { Recipe } from "./recipe.ts";
import { bestRun, type CellResult, type CellRun, type Measured } from "./result.ts";

/** The figures that a score can be made of, mad-lab's own among them. */
export const SCORE_FIGURES = {
  macro: {
    describe: "macro accuracy over the whole test set",
    of: (m: Measured): number => m.epoch.macroAccuracy,
  },
  batches: {
    describe: "mad-lab's: mean over batches of each batch's macro accuracy",
    of: (m: Measured): number => m.batches.macroAccuracy,
  },
  token: {
    describe: "share of targets predicted",
    of: (m: Measured): number => m.epoch.tokenAccuracy,
  },
} as const;

export type ScoreFigure = keyof typeof SCORE_FIGURES;

/** Scores of one architecture under one recipe. */
export interface ArchitectureScore {
  readonly architecture: string;
  readonly shorthand: string;
  readonly recipe: Recipe;
  /** Mean over tasks, by figure; NaN without any result. */
  readonly total: Readonly<Record<ScoreFigure, number>>;
  readonly tasks: readonly TaskScore[];
  /** Settings of the suite for which there is no result. */
  readonly missing: readonly string[];
  /** Settings of which every run diverged; they count as 0. */
  readonly diverged: readonly string[];
  readonly results: readonly CellResult[];
}

export interface TaskScore {
  readonly task: string;
  readonly score: Readonly<Record<ScoreFigure, number>>;
  readonly settings: number;
}

const figures = Object.keys(SCORE_FIGURES) as ScoreFigure[];

const byFigure = (of: (f: ScoreFigure) => number): Record<ScoreFigure, number> =>
  Object.fromEntries(figures.map((f) => [f, of(f)])) as Record<ScoreFigure, number>;

const mean = (values: readonly number[]): number =>
  values.length === 0 ? Number.NaN : values.reduce((a, b) => a + b, 0) / values.length;

/**
 * The best figure over the runs of a cell; diverged runs do not count, and a cell without others scores 0. NaN where the
 * figure is not known.
 */
export function cellScore(result: CellResult, figure: ScoreFigure): number {
  const tests = result.runs.flatMap((r) => (r.test ? [SCORE_FIGURES[figure].of(r.test)] : []));
  const known = tests.filter((x) => Number.isFinite(x));
  return tests.length === 0 ? 0 : known.length === 0 ? Number.NaN : Math.max(...known);
}

/** The first figure that is known of all results: `macro` unless some come from elsewhere. */
export const commonFigure = (results: readonly CellResult[]): ScoreFigure =>
  figures.find((f) => results.every((r) => !Number.isNaN(cellScore(r, f)))) ?? "macro";

/** The figure of that name. @throws ConfigError when there is none */
export function findFigure(op: string, name: string): ScoreFigure {
  if (name in SCORE_FIGURES) return name as ScoreFigure;
  throw new ConfigError(op, `no figure "${name}"`, { expected: figures.join(", ") });
}

/** Whether no run of a cell came through. */
const isDiverged = (result: CellResult): boolean => result.runs.every((r: CellRun) => r.test === null);

/** Architectures under their recipes; a later result of the same setting replaces an earlier one. */
function groups(results: readonly CellResult[]): CellResult[][] {
  const found = new Map<string, Map<string, CellResult>>();
  for (const r of results) {
    const key = `${r.origin ?? ""} ${r.shorthand} ${canonical(r.recipe)}`;
    const settings = found.get(key) ?? new Map<string, CellResult>();
    settings.set(r.setting, r);
    found.set(key, settings);
  }
  return [...found.values()].map((settings) => [...settings.values()]);
}

const rankOf = ({ total }: ArchitectureScore): number =>
  Number.isNaN(total.macro) ? total.batches : total.macro;

/** Scores by architecture and recipe, best first. */
export function scoreArchitectures(
  results: readonly CellResult[],
  suite: readonly { readonly id: string }[] = [],
): ArchitectureScore[] {
  const wanted = new Set(suite.map((s) => s.id));
  const counted = suite.length === 0 ? results : results.filter((r) => wanted.has(r.setting));
  return groups(counted)
    .map((cells): ArchitectureScore => {
      const tasks = [...new Set(cells.map((c) => c.task))].map((task): TaskScore => {
        const mine = cells.filter((c) => c.task === task);
        return {
          task,
          score: byFigure((f) => mean(mine.map((c) => cellScore(c, f)))),
          settings: mine.length,
        };
      });
      const there = new Set(cells.map((c) => c.setting));
      const last = cells.at(-1)!;
      return {
        architecture: last.architecture,
        shorthand: last.shorthand,
        recipe: last.recipe,
        total: byFigure((f) => mean(tasks.map((t) => t.score[f]))),
        tasks,
        missing: [...wanted].filter((id) => !there.has(id)),
        diverged: cells.filter(isDiverged).map((c) => c.setting),
        results: cells,
      };
    })
    .toSorted((a, b) => rankOf(b) - rankOf(a));
}

/** Hyper-parameters that won, for tables. */
export function winner(result: CellResult): string {
  const best = bestRun(result, result.recipe.accuracy);
  return best ? `lr ${best.learningRate}, decay ${best.weightDecay}` : "all diverged";
}
