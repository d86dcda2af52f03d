// Trains runs of a cell one after the other, each as a run of its own.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { NumericError } from "@everlong/core";
import { makeFolder } from "@everlong/data";
import { fit, loadCheckpoint, saveCheckpoint, type CheckpointParts } from "@everlong/train";
import { Evaluator } from "../train/evaluate.ts";
import { toTensors } from "../train/run.ts";
import {
  CheckpointClock,
  isPoint,
  lossOf,
  makeOptimizer,
  type CellTraining,
  type RunPlace,
} from "./cell-training.ts";
import { rateAt } from "./recipe.ts";
import type { CellRun } from "./result.ts";
import { RunTracker, type SavedTracker } from "./run-tracker.ts";

/** Trains a run of a cell, from its checkpoint if there is one. */
export async function trainAlone(training: CellTraining, { index, hyper }: RunPlace): Promise<CellRun> {
  const { cell, train, test, classes, steps, perEpoch, places, onPoint, onModel, resume } = training;
  const { recipe } = cell;
  const before = places.findIndex((p) => p.index === index);
  const tracker = new RunTracker(hyper, recipe);
  const model = training.newModel();
  const optimizer = makeOptimizer(model, cell, hyper);
  const parts: CheckpointParts = { model, optimizer };
  const evaluator = new Evaluator(model, test, classes, recipe.batch);
  const path = resume && join(resume.folder, `run-${index}.safetensors`);
  const clock = new CheckpointClock(resume);
  let from = 0;
  if (path !== undefined && existsSync(path)) {
    const info = (await loadCheckpoint(path, parts)) as { step: number; tracker: SavedTracker };
    from = info.step;
    tracker.restore(info.tracker);
  }
  const measure = async (step: number): Promise<void> => {
    const [measured] = await evaluator.measure();
    const { lowest } = tracker;
    const point = tracker.measured(step / perEpoch, step, measured!, step === steps);
    if (!point) return;
    onPoint(index, point, (before + step / steps) / places.length);
    if (point.testLoss < lowest) await onModel?.("best", index, parts);
  };
  try {
    if (from === 0) await measure(0);
    await fit({
      optimizer,
      steps,
      from,
      loss: lossOf(model),
      batches: toTensors(train, recipe.batch, recipe.seed, from),
      schedule: (step) =>
        rateAt(recipe, hyper.learningRate, step, perEpoch, tracker.drops) / hyper.learningRate,
      seed: recipe.seed,
      ...(recipe.clip > 0 ? { clip: recipe.clip } : {}),
      ...(recipe.precision ? { precision: recipe.precision } : {}),
      onStep: async ({ step, loss }) => {
        tracker.step(loss);
        if (isPoint(training, step)) await measure(step);
        if (path !== undefined && !tracker.over) {
          await clock.tick(async () => {
            makeFolder(dirname(path));
            await saveCheckpoint(path, parts, { step, tracker: tracker.save() });
          });
        }
        return !tracker.over;
      },
    });
  } catch (error) {
    if (!(error instanceof NumericError)) throw error;
    tracker.diverge();
  } finally {
    evaluator.dispose();
  }
  await onModel?.("last", index, parts);
  const run = tracker.run();
  if (!training.measureTrain || run.test === null) return run;
  const trained = new Evaluator(model, train, classes, recipe.batch);
  const [measured] = await trained.measure();
  trained.dispose();
  return { ...run, train: measured! };
}
