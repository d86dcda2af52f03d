// What a trained cell leaves behind; scores, tables and pages are made from these.

import type { TaskScores } from "../metrics.ts";
import type { Leakage } from "../tasks/leakage.ts";
import type { TaskOptions } from "../tasks/options.ts";
import type { HyperParameters, Recipe } from "./recipe.ts";

/** A measurement on a data set, in both conventions. */
export interface Measured {
  /** Each target counts once over the whole set. */
  readonly epoch: TaskScores;
  /** mad-lab's figures: means over batches of each batch's figures. */
  readonly batches: TaskScores;
}

/** A point of a run's curve. */
export interface EpochPoint {
  readonly epoch: number;
  readonly step: number;
  /** Mean loss of the steps since the last point, null before the first. */
  readonly trainLoss: number | null;
  readonly testLoss: number;
  readonly tokenAccuracy: number;
  /** Macro accuracy over the whole test set, and as mad-lab averages it. */
  readonly macroAccuracy: number;
  readonly batchAccuracy: number;
}

/** One run of a cell. */
export interface CellRun extends HyperParameters {
  readonly curve: readonly EpochPoint[];
  /** On the test set with the final weights. Null after divergence. */
  readonly test: Measured | null;
  /** On the training set, where it was asked for. */
  readonly train?: Measured;
  /** `steady`: no better accuracy for the recipe's patience. */
  readonly stopped: "done" | "accurate" | "steady" | "diverged";
  readonly steps: number;
}

export interface CellResult {
  readonly format: 1;
  readonly key: string;
  /** Who trained it, when it was not this benchmark. Figures that are not known there are NaN. */
  readonly origin?: "mad-lab";
  readonly architecture: string;
  readonly shorthand: string;
  /** Layer names in order. */
  readonly layers: readonly string[];
  readonly setting: string;
  readonly task: string;
  readonly options: Partial<TaskOptions>;
  readonly trainCount: number;
  readonly testCount: number;
  readonly recipe: Recipe;
  readonly runs: readonly CellRun[];
  readonly leakage: Leakage;
  readonly model: ModelFacts;
  /** Wall time of all runs together. */
  readonly seconds: number;
  /** Training rows per second, all runs together. */
  readonly rowsPerSecond: number;
  /** Whether the runs were one compiled step. */
  readonly together: boolean;
  readonly device: string;
  /** ISO time at the end. */
  readonly finished: string;
}

/** Sizes of a model at a setting. */
export interface ModelFacts {
  /** Trainable elements. */
  readonly parameters: number;
  /** Without token embeddings and logits, which are equal for all architectures. */
  readonly layerParameters: number;
  /** Numbers that generation carries after a sequence of the setting's length. */
  readonly stateElements: number;
  /** Whether the state is as large after twice the length. */
  readonly fixedState: boolean;
  /** Floating-point operations of a forward pass, per token. */
  readonly flopsPerToken: number;
}

/** A run's test loss: over the whole test set where that is known. NaN for a diverged one. */
export const testLossOf = ({ test }: CellRun): number =>
  test === null ? Number.NaN : Number.isFinite(test.epoch.loss) ? test.epoch.loss : test.batches.loss;

/** The accuracy by which the recipe judges, of a run. NaN for a diverged one, which scores leave out. */
export const accuracyOf = (run: CellRun, kind: Recipe["accuracy"]): number =>
  run.test === null ? Number.NaN : run.test[kind].macroAccuracy;

/** The run with the best accuracy; undefined when all diverged. The first of equals. */
export function bestRun(result: CellResult, kind: Recipe["accuracy"]): CellRun | undefined {
  let best: CellRun | undefined;
  for (const run of result.runs) {
    const accuracy = accuracyOf(run, kind);
    if (Number.isNaN(accuracy)) continue;
    if (!best || accuracy > accuracyOf(best, kind)) best = run;
  }
  return best;
}
