// Definitions from supervised continual learning, on the matrix of evaluations after each training.

import { DataError } from "@everlong/core";
import type { MetricsReport } from "./report.ts";
import { mean } from "./statistics.ts";

/** Evaluations of `N` tasks before and after `S` trainings. */
export interface EvaluationMatrix {
  /** Task names `[N]`. */
  readonly tasks: readonly string[];
  /** `[S + 1][N]`: row 0 before any training, row s after training s. NaN where not evaluated. */
  readonly values: readonly (readonly number[])[];
  /** Task index trained at step s, `[S]`. */
  readonly trained: readonly number[];
}

/** Avalanche's stream metrics at the end of the stream (Lomonaco et al. 2021, arXiv 2104.00405). */
export interface StreamMetrics {
  /** First value after its training minus last value, by task `[N]`; NaN for a task that was not seen again. */
  readonly forgetting: readonly number[];
  /** Minus forgetting. */
  readonly backwardTransfer: readonly number[];
  /** Value just before a task's training minus its value before any training, `[N]`. */
  readonly forwardTransfer: readonly number[];
  /** Means over the tasks where they are defined. */
  readonly meanForgetting: number;
  readonly meanBackwardTransfer: number;
  readonly meanForwardTransfer: number;
  /** Mean over tasks of their last evaluation. */
  readonly finalPerformance: number;
}

/**
 * Forgetting, backward and forward transfer by Avalanche's definitions: forgetting compares the evaluation right
 * after a task's (first) training with the last one; forward transfer needs evaluations before each training.
 */
export function streamMetrics(matrix: EvaluationMatrix): StreamMetrics {
  const { tasks, values, trained } = matrix;
  if (values.length !== trained.length + 1 || values.some((row) => row.length !== tasks.length)) {
    throw new DataError("stream metrics", "the matrix does not fit its trainings", {
      expected: `[${trained.length + 1}][${tasks.length}]`,
      got: `[${values.length}][${values[0]?.length ?? 0}]`,
    });
  }
  const first = tasks.map((_, n) => trained.indexOf(n));
  // the last training may have no evaluation after it
  const lastStep = tasks.map((_, n) => values.findLastIndex((row) => !Number.isNaN(row[n]!)));
  const last = tasks.map((_, n) => values[lastStep[n]!]?.[n] ?? Number.NaN);
  const forgetting = tasks.map((_, n) => {
    const after = first[n]! + 1;
    // not forgotten before it is evaluated again after another training
    return after < 1 || lastStep[n]! <= after ? Number.NaN : values[after]![n]! - last[n]!;
  });
  const forwardTransfer = tasks.map((_, n) => {
    const s = first[n]!;
    // before the first training both values are the same evaluation: nothing can have transferred
    return s <= 0 ? Number.NaN : values[s]![n]! - values[0]![n]!;
  });
  const defined = (list: readonly number[]): number => mean(list.filter((v) => !Number.isNaN(v)));
  const backwardTransfer = forgetting.map((value) => -value);
  return {
    forgetting,
    backwardTransfer,
    forwardTransfer,
    meanForgetting: defined(forgetting),
    meanBackwardTransfer: defined(backwardTransfer),
    meanForwardTransfer: defined(forwardTransfer),
    finalPerformance: defined(last),
  };
}

/** The evaluation matrix of a lifetime: one step a training regime, terminal performance of each evaluation. */
export function evaluationMatrix(report: MetricsReport): EvaluationMatrix {
  const tasks = report.lifetime.tasks;
  const values: number[][] = [tasks.map(() => Number.NaN)];
  const trained: number[] = [];
  for (const { regime, terminal } of report.regimes) {
    const n = tasks.indexOf(regime.task);
    if (regime.blockType === "train") {
      trained.push(n);
      values.push(tasks.map(() => Number.NaN));
    } else {
      values.at(-1)![n] = terminal;
    }
  }
  return { tasks, values, trained };
}
