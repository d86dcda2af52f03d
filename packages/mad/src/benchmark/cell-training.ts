// What training a cell's runs needs, be they trained together or apart.

import type { Tensor } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import {
  AdamW,
  Sgd,
  type Batch,
  type CheckpointParts,
  type LossFunction,
  type Optimizer,
} from "@everlong/train";
import type { TaskData } from "../tasks/generate.ts";
import { IGNORE_INDEX } from "../tasks/task.ts";
import type { makeModel } from "../train/model.ts";
import type { Cell } from "./cell.ts";
import type { HyperParameters } from "./recipe.ts";
import type { EpochPoint } from "./result.ts";

/** Where an interrupted cell goes on from. */
export interface ResumeOptions {
  /** Holds finished runs and the checkpoints of those under way; the caller removes it with the cell's end. */
  readonly folder: string;
  /** Least seconds between checkpoints. Default 60. */
  readonly every?: number;
}

export type CellModel = ReturnType<typeof makeModel>;

/** A run of a cell, by its place in the recipe's order. */
export interface RunPlace {
  readonly index: number;
  readonly hyper: HyperParameters;
}

/** What the runs of a cell share. */
export interface CellTraining {
  readonly cell: Cell;
  readonly train: TaskData;
  readonly test: TaskData;
  readonly classes: number;
  readonly steps: number;
  readonly perEpoch: number;
  /** The runs to train. */
  readonly places: readonly RunPlace[];
  readonly newModel: () => CellModel;
  readonly onPoint: (run: number, point: EpochPoint, done: number) => void;
  readonly onModel:
    | ((which: "best" | "last", run: number, parts: CheckpointParts) => Promise<void>)
    | undefined;
  readonly measureTrain: boolean;
  readonly resume: ResumeOptions | undefined;
}

export const lossOf =
  (model: CellModel): LossFunction =>
  ({ inputs, targets }: Batch): Tensor =>
    crossEntropy(model.forward(inputs!), targets!, { ignoreIndex: IGNORE_INDEX });

/** The protocol follows no hints of layers: one rate and one decay for all parameters. */
export function makeOptimizer(model: CellModel, cell: Cell, hyper: HyperParameters): Optimizer {
  const options = { ...hyper, hints: false };
  return cell.recipe.optimizer === "sgd" ? new Sgd(model, options) : new AdamW(model, options);
}

/** Whether to measure after `step` steps. */
export const isPoint = ({ steps, perEpoch, cell }: CellTraining, step: number): boolean =>
  step === steps || step % (perEpoch * cell.recipe.evaluateEvery) === 0;

/** Says when the next checkpoint is due. */
export class CheckpointClock {
  readonly #every: number;
  #saved: number = performance.now();

  constructor({ every = 60 }: Partial<ResumeOptions> = {}) {
    this.#every = 1000 * every;
  }

  /** Saves by `save` if it is time. */
  async tick(save: () => Promise<void>): Promise<void> {
    if (performance.now() - this.#saved < this.#every) return;
    await save();
    this.#saved = performance.now();
  }
}
