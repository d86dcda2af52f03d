// Continual World's metrics (Wolczyk et al. 2021, arXiv 2105.10919, section 4) on success curves.

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { DataError } from "@everlong/core";
import { parseTsv } from "../logs/tsv.ts";
import { type BootstrapOptions, bootstrap, bootstrapPair, type Interval } from "./bootstrap.ts";
import { mean } from "./statistics.ts";

const OP = "continual world";

/** One run over `N` tasks: success of every task at each of `P` evaluations, and which task was being trained. */
export interface SuccessRun {
  readonly id: string;
  /** Task names `[N]`. */
  readonly tasks: readonly string[];
  /** `[N][P]`, between 0 and 1. */
  readonly success: readonly Float64Array[];
  /** Task trained up to each evaluation, `[P]`. */
  readonly active: Int32Array;
}

/** A single-task run that forward transfer is measured against. */
export interface BaselineRun {
  readonly id: string;
  readonly task: string;
  /** `[P]`. */
  readonly success: Float64Array;
}

export interface ContinualWorldOptions extends Omit<BootstrapOptions, "statistic"> {
  /** Evaluations that make up "the end"; default 5. */
  readonly window?: number;
}

export interface ContinualWorldMetrics {
  /** Mean success over tasks at the end of the run. */
  readonly performance: Interval;
  /** Success at the end of a task's own training minus at the end of the run, mean over tasks. */
  readonly forgetting: Interval;
  /** Mean over tasks of (AUC - AUC_b) / (1 - AUC_b); null without baselines. */
  readonly forwardTransfer: Interval | null;
  readonly perTask: readonly {
    task: string;
    performance: number;
    forgetting: number;
    forwardTransfer: number | null;
  }[];
}

/**
 * Average performance, forgetting and forward transfer over runs with the same tasks; AUC is the mean success while
 * a task is trained, averaged over runs. Intervals resample runs, and baseline runs apart from them.
 *
 * @throws DataError if the runs differ in tasks or a task has no baseline
 */
export function continualWorldMetrics(
  runs: readonly SuccessRun[],
  baselines: readonly BaselineRun[] = [],
  options: ContinualWorldOptions = {},
): ContinualWorldMetrics {
  const { window = 5, ...resampling } = options;
  const tasks = runs[0]?.tasks;
  if (tasks === undefined) throw new DataError(OP, "no runs given");
  const odd = runs.find((run) => run.tasks.join() !== tasks.join());
  if (odd !== undefined) {
    throw new DataError(OP, `run ${odd.id} has other tasks`, {
      expected: tasks.join(),
      got: odd.tasks.join(),
    });
  }
  const rows = runs.map((run) =>
    tasks.map((_, n) => {
      const curve = run.success[n]!;
      const own = curve.filter((_, p) => run.active[p] === n);
      const end = mean(curve, Math.max(0, curve.length - window));
      return { end, forgetting: mean(own, Math.max(0, own.length - window)) - end, auc: mean(own) };
    }),
  );
  const baseline = baselines.length === 0 ? null : baselineRows(tasks, baselines);
  const transferOf = (
    own: readonly (readonly { auc: number }[])[],
    base: readonly (readonly number[])[],
    n: number,
  ): number => {
    const x = mean(own.map((row) => row[n]!.auc));
    const y = mean(base.map((row) => row[n]!));
    return (x - y) / (1 - y);
  };
  const all = tasks.map((_, n) => n);
  return {
    performance: bootstrap(
      rows.map((row) => mean(row.map((r) => r.end))),
      resampling,
    ),
    forgetting: bootstrap(
      rows.map((row) => mean(row.map((r) => r.forgetting))),
      resampling,
    ),
    forwardTransfer:
      baseline &&
      bootstrapPair(
        rows,
        baseline,
        (own, base) => mean(all.map((n) => transferOf(own, base, n))),
        resampling,
      ),
    perTask: tasks.map((task, n) => ({
      task,
      performance: mean(rows.map((row) => row[n]!.end)),
      forgetting: mean(rows.map((row) => row[n]!.forgetting)),
      forwardTransfer: baseline && transferOf(rows, baseline, n),
    })),
  };
}

/** Reads a `progress.tsv` of Continual World; `test/stochastic/<index>/<task>/success` are the success columns. */
export function readSuccessRun(dir: string): SuccessRun {
  const { tasks, success, column } = readProgress(dir);
  return { id: basename(dir), tasks, success, active: Int32Array.from(column("train/active_env")) };
}

/** Reads a single-task `progress.tsv` as baseline. */
export function readBaselineRun(dir: string): BaselineRun {
  const { tasks, success } = readProgress(dir);
  if (tasks.length !== 1) {
    throw new DataError(OP, `${dir} is not a single-task run`, {
      expected: "one task",
      got: tasks.join(", "),
    });
  }
  return { id: basename(dir), task: tasks[0]!, success: success[0]! };
}

function readProgress(dir: string): {
  tasks: string[];
  success: Float64Array[];
  column: (name: string) => Float64Array;
} {
  const table = parseTsv(readFileSync(join(dir, "progress.tsv"), "utf8"));
  const column = (name: string): Float64Array => {
    const c = table.header.indexOf(name);
    if (c < 0) throw new DataError(OP, `${dir} lacks column "${name}"`, { got: table.header.join(", ") });
    return Float64Array.from(table.columns[c]!, Number);
  };
  const found = table.header
    .map((name) => /^test\/stochastic\/(\d+)\/(.+)\/success$/.exec(name))
    .filter((match) => match !== null)
    .sort((a, b) => Number(a[1]) - Number(b[1]));
  if (found.length === 0) throw new DataError(OP, `${dir} has no success columns`);
  return { tasks: found.map((m) => m[2]!), success: found.map((m) => column(m[0])), column };
}

// one row a run number: bootstrapping needs equally many runs of every task, so surplus runs are left out
function baselineRows(tasks: readonly string[], baselines: readonly BaselineRun[]): number[][] {
  const perTask = tasks.map((task) =>
    baselines.filter((run) => run.task === task).map((run) => mean(run.success)),
  );
  const bare = tasks.filter((_, n) => perTask[n]!.length === 0);
  if (bare.length > 0) throw new DataError(OP, `no baseline run for ${bare.join(", ")}`);
  const count = Math.min(...perTask.map((list) => list.length));
  return Array.from({ length: count }, (_, i) => perTask.map((list) => list[i]!));
}
