// Trains runs of a cell together: one compiled step, the batches and the measurements shared.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { defaultDevice, EverlongError, isStrict, NumericError, setStrict } from "@everlong/core";
import { makeFolder } from "@everlong/data";
import { runsTogether, Sweep, type EachRun } from "@everlong/train";
import { Evaluator } from "../train/evaluate.ts";
import { toTensors } from "../train/run.ts";
import { CheckpointClock, isPoint, lossOf, makeOptimizer, type CellTraining } from "./cell-training.ts";
import { rateAt } from "./recipe.ts";
import type { CellRun, Measured } from "./result.ts";
import { RunTracker, type SavedTracker } from "./run-tracker.ts";

/** A vectorised step could not be built; the cell can still be trained run by run. */
export class NotTogether extends Error {}

/** Trains the runs to their ends; those that end early are left out of what follows. */
export async function trainTogether(training: CellTraining): Promise<readonly CellRun[]> {
  const { cell, train, test, classes, steps, perEpoch, places, resume, onPoint } = training;
  const { recipe } = cell;
  const trackers = places.map((p) => new RunTracker(p.hyper, recipe));
  const model = training.newModel();
  const sweep = new Sweep({
    loss: lossOf(model),
    optimizer: makeOptimizer(model, cell, { learningRate: 1, weightDecay: 0 }),
    runs: places.map((p) => p.hyper),
    together: runsTogether(places.length, recipe.batch * train.length),
    seed: recipe.seed,
    ...(recipe.clip > 0 ? { clip: recipe.clip } : {}),
    ...(recipe.precision ? { precision: recipe.precision } : {}),
  });
  const evaluators = new Map<EachRun, Evaluator>();
  const disposeEvaluators = (): void => {
    evaluators.forEach((e) => e.dispose());
    evaluators.clear();
  };
  const measure = async (step: number): Promise<void> => {
    const found: Measured[] = [];
    await sweep.visit(async (runs, each) => {
      let evaluator = evaluators.get(each);
      if (!evaluator)
        evaluators.set(each, (evaluator = new Evaluator(model, test, classes, recipe.batch, each)));
      (await evaluator.measure()).forEach((m, i) => (found[runs[i]!] = m));
    });
    for (const s of sweep.active) {
      const point = trackers[s]!.measured(step / perEpoch, step, found[s]!, step === steps);
      if (point) onPoint(places[s]!.index, point, step / steps);
    }
    const ended = sweep.active.filter((s) => trackers[s]!.over);
    if (ended.length === 0) return;
    disposeEvaluators();
    sweep.drop(ended);
  };
  const names = places.map((p) => p.index).join("-");
  const path = resume && join(resume.folder, `runs-${names}.safetensors`);
  const clock = new CheckpointClock(resume);
  let step = 0;
  let made = 0;
  if (path !== undefined && existsSync(path)) {
    const saved = (await sweep.resume(path)) as { step: number; trackers: SavedTracker[] };
    step = saved.step;
    trackers.forEach((t, s) => t.restore(saved.trackers[s]!));
  }
  const strict = isStrict();
  setStrict(defaultDevice().name !== "reference");
  try {
    if (step === 0) await measure(0);
    for (const batch of toTensors(train, recipe.batch, recipe.seed, step)) {
      if (sweep.active.length === 0) break;
      const rates = places.map(({ hyper }, s) =>
        rateAt(recipe, hyper.learningRate, step, perEpoch, trackers[s]!.drops),
      );
      const reports = await sweep.step(batch, rates);
      for (const t of Object.values(batch)) t[Symbol.dispose]();
      reports.forEach((r, s) => r && trackers[s]!.step(r["loss"]!));
      step++;
      made++;
      if (isPoint(training, step)) await measure(step);
      if (step === steps || trackers.every((t) => t.over)) break;
      if (path === undefined) continue;
      await clock.tick(async () => {
        makeFolder(dirname(path));
        await sweep.save(path, { step, trackers: trackers.map((t) => t.save()) });
      });
    }
  } catch (error) {
    // A first step that cannot be built says so before anything was trained.
    if (made === 0 && error instanceof EverlongError && !(error instanceof NumericError))
      throw new NotTogether("cannot train together", { cause: error });
    throw error;
  } finally {
    setStrict(strict);
    disposeEvaluators();
    sweep.dispose();
  }
  return trackers.map((t) => t.run());
}
