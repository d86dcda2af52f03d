// Trains all runs of a cell: together as one compiled step, or one after the other.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  defaultDevice,
  EverlongError,
  isStrict,
  NumericError,
  setStrict,
  tensor,
  type Tensor,
} from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import type { LayerEntry } from "@everlong/nn";
import {
  AdamW,
  fit,
  loadCheckpoint,
  saveCheckpoint,
  Sgd,
  runsTogether,
  Sweep,
  type Batch,
  type CheckpointParts,
  type LossFunction,
  type Optimizer,
} from "@everlong/train";
import { settingData } from "../protocol.ts";
import { checkLeakage, type Leakage } from "../tasks/leakage.ts";
import type { TaskData } from "../tasks/generate.ts";
import { IGNORE_INDEX } from "../tasks/task.ts";
import { Evaluator } from "../train/evaluate.ts";
import { makeModel, modelFacts, vocabularyOf } from "../train/model.ts";
import { toTensors } from "../train/run.ts";
import { resolveLayers } from "./architecture-name.ts";
import type { Cell } from "./cell.ts";
import { loadPlugins } from "./plugin.ts";
import { hyperParameters, rateAt, stepsOf, stepsPerEpoch, type HyperParameters } from "./recipe.ts";
import type { CellResult, CellRun, EpochPoint } from "./result.ts";
import { RunTracker, type SavedTracker } from "./run-tracker.ts";
import { writeWhole } from "./store.ts";

export interface TrainCellOptions {
  /**
   * Whether the runs are one compiled step over stacked parameters. `auto` (default): together, or one by one where a
   * layer cannot be batched over runs.
   */
  readonly together?: "auto" | "on" | "off";
  /** Called at every measurement of every run; `done` is the share of the cell's steps made. */
  readonly onPoint?: (run: number, point: EpochPoint, done: number) => void;
  /**
   * Called with a run's model and optimiser when its test loss is the lowest so far (`best`) and when it ends (`last`).
   * Runs are then trained one by one.
   */
  readonly onModel?: (which: "best" | "last", run: number, parts: CheckpointParts) => Promise<void>;
  /** Also measure the training set in the end, as mad-lab does; runs are then trained one by one. Default false. */
  readonly measureTrain?: boolean;
  /** Runs that are trained one by one leave checkpoints and go on from them, bit for bit. */
  readonly resume?: ResumeOptions;
}

/** Where an interrupted cell goes on from. */
export interface ResumeOptions {
  /** Holds finished runs and the checkpoint of the one under way; the caller removes it with the cell's end. */
  readonly folder: string;
  /** Least seconds between checkpoints, which are written where the test set is measured. Default 60. */
  readonly every?: number;
}

type Model = ReturnType<typeof makeModel>;

/** What all runs of a cell share. */
interface Bench {
  readonly cell: Cell;
  readonly train: TaskData;
  readonly test: TaskData;
  readonly classes: number;
  readonly steps: number;
  readonly perEpoch: number;
  readonly newModel: () => Model;
  readonly onPoint: NonNullable<TrainCellOptions["onPoint"]>;
  readonly onModel: TrainCellOptions["onModel"];
  readonly measureTrain: boolean;
  readonly resume: ResumeOptions | undefined;
}

/** A vectorised step could not be built; the cell can still be trained run by run. */
class NotTogether extends Error {}

const lossOf =
  (model: Model): LossFunction =>
  ({ inputs, targets }: Batch): Tensor =>
    crossEntropy(model.forward(inputs!), targets!, { ignoreIndex: IGNORE_INDEX });

/** The protocol follows no hints of layers: one rate and one decay for all parameters. */
function makeOptimizer(model: Model, cell: Cell, hyper: HyperParameters): Optimizer {
  const options = { ...hyper, hints: false };
  return cell.recipe.optimizer === "sgd" ? new Sgd(model, options) : new AdamW(model, options);
}

/**
 * Trains a cell on the default device.
 *
 * @throws DataError when test rows stand in the training set, ConfigError for what cannot be built
 */
export async function trainCell(cell: Cell, options: TrainCellOptions = {}): Promise<CellResult> {
  const { onPoint = () => {}, onModel, measureTrain = false } = options;
  const together = onModel || measureTrain ? "off" : (options.together ?? "auto");
  const { setting, recipe } = cell;
  const plugins = await loadPlugins(cell.plugins);
  const more: readonly LayerEntry[] = plugins.flatMap((p) => p.entries);
  const layers = resolveLayers({ name: cell.architecture, layers: cell.layers }, more).map(
    ({ entry, options: given }) => ({ layer: entry, options: given }),
  );
  const { train, test } = settingData(setting, { seed: recipe.seed, compat: recipe.publishedData });
  const leakage: Leakage = checkLeakage(train, test);
  const newModel = (): Model =>
    makeModel({
      task: setting.task,
      options: setting.options,
      layers,
      dim: recipe.dim,
      norm: recipe.norm,
      seed: recipe.seed,
      maxLength: setting.options.seqLen ?? train.length,
    });
  const bench: Bench = {
    cell,
    train,
    test,
    classes: vocabularyOf(setting.options),
    steps: stepsOf(recipe, setting.trainCount),
    perEpoch: stepsPerEpoch(recipe, setting.trainCount),
    newModel,
    onPoint,
    onModel,
    measureTrain,
    resume: options.resume,
  };
  const began = performance.now();
  let runs: readonly CellRun[];
  let isTogether = together !== "off" && hyperParameters(recipe).length > 1;
  try {
    runs = isTogether ? await trainTogether(bench) : await trainApart(bench);
  } catch (error) {
    if (!(error instanceof NotTogether)) throw error;
    if (together === "on") throw error.cause;
    isTogether = false;
    runs = await trainApart(bench);
  }
  const seconds = (performance.now() - began) / 1000;
  const rows = runs.reduce((sum, r) => sum + r.steps * recipe.batch, 0);
  return {
    format: 1,
    key: cell.key,
    architecture: cell.architecture,
    shorthand: cell.shorthand,
    layers: layers.map((l) => l.layer.name),
    setting: setting.id,
    task: setting.task,
    options: setting.options,
    trainCount: setting.trainCount,
    testCount: setting.testCount,
    recipe,
    runs,
    leakage,
    model: modelFacts(newModel(), train.length),
    seconds,
    rowsPerSecond: rows / seconds,
    together: isTogether,
    device: defaultDevice().name,
    finished: new Date().toISOString(),
  };
}

/** Whether to measure after `step` steps. */
const isPoint = ({ steps, perEpoch, cell }: Bench, step: number): boolean =>
  step === steps || step % (perEpoch * cell.recipe.evaluateEvery) === 0;

async function trainTogether(bench: Bench): Promise<readonly CellRun[]> {
  const { cell, train, test, classes, steps, perEpoch, onPoint } = bench;
  const { recipe } = cell;
  const hypers = hyperParameters(recipe);
  const trackers = hypers.map((h) => new RunTracker(h, recipe));
  const model = bench.newModel();
  const sweep = new Sweep({
    loss: lossOf(model),
    optimizer: makeOptimizer(model, cell, { learningRate: 1, weightDecay: 0 }),
    runs: hypers,
    together: runsTogether(hypers.length, recipe.batch * train.length),
    seed: recipe.seed,
    ...(recipe.clip > 0 ? { clip: recipe.clip } : {}),
  });
  const evaluator = new Evaluator(model, test, classes, recipe.batch, (fn) => sweep.each(fn));
  const measure = async (step: number): Promise<void> => {
    const measured = await evaluator.measure();
    trackers.forEach((tracker, i) => {
      const point = tracker.measured(step / perEpoch, step, measured[i]!, step === steps);
      if (point) onPoint(i, point, step / steps);
    });
  };
  const strict = isStrict();
  setStrict(defaultDevice().name !== "reference");
  let step = 0;
  try {
    await measure(0);
    for (const batch of toTensors(train, recipe.batch, recipe.seed)) {
      using rates = tensor(
        hypers.map((h, i) => rateAt(recipe, h.learningRate, step, perEpoch, trackers[i]!.drops)),
      );
      const out = sweep.step(batch, rates);
      const scalars = await out.data();
      out[Symbol.dispose]();
      for (const t of Object.values(batch)) t[Symbol.dispose]();
      const at = sweep.names.indexOf("loss");
      trackers.forEach((t, i) => t.step(scalars[i * sweep.names.length + at]!));
      step++;
      if (isPoint(bench, step)) await measure(step);
      if (step === steps || trackers.every((t) => t.over)) break;
    }
  } catch (error) {
    // A first step that cannot be built says so before anything was trained.
    if (step === 0 && error instanceof EverlongError && !(error instanceof NumericError))
      throw new NotTogether("cannot train together", { cause: error });
    throw error;
  } finally {
    setStrict(strict);
    evaluator.dispose();
    sweep.dispose();
  }
  return trackers.map((t) => t.run());
}

async function trainApart(bench: Bench): Promise<readonly CellRun[]> {
  const runs: CellRun[] = [];
  for (const [i, hyper] of hyperParameters(bench.cell.recipe).entries()) {
    const done = bench.resume && join(bench.resume.folder, `run-${i}.json`);
    if (done !== undefined && existsSync(done)) {
      runs.push(JSON.parse(readFileSync(done, "utf8")) as CellRun);
      continue;
    }
    const run = await trainAlone(bench, i, hyper);
    if (done !== undefined) writeWhole(done, JSON.stringify(run));
    runs.push(run);
  }
  return runs;
}

/** Trains run `i` of a cell, from its checkpoint if there is one. */
async function trainAlone(bench: Bench, i: number, hyper: HyperParameters): Promise<CellRun> {
  const { cell, train, test, classes, steps, perEpoch, onPoint, onModel, resume } = bench;
  const { recipe } = cell;
  const count = hyperParameters(recipe).length;
  const tracker = new RunTracker(hyper, recipe);
  const model = bench.newModel();
  const optimizer = makeOptimizer(model, cell, hyper);
  const parts: CheckpointParts = { model, optimizer };
  const evaluator = new Evaluator(model, test, classes, recipe.batch);
  const path = resume && join(resume.folder, `run-${i}.safetensors`);
  let from = 0;
  if (path !== undefined && existsSync(path)) {
    const info = (await loadCheckpoint(path, parts)) as { step: number; tracker: SavedTracker };
    from = info.step;
    tracker.restore(info.tracker);
  }
  let lowest = Number.POSITIVE_INFINITY;
  let saved = performance.now();
  const measure = async (step: number): Promise<void> => {
    const [measured] = await evaluator.measure();
    const point = tracker.measured(step / perEpoch, step, measured!, step === steps);
    if (!point) return;
    onPoint(i, point, (i + step / steps) / count);
    if (point.testLoss < lowest) await onModel?.("best", i, parts);
    lowest = Math.min(lowest, point.testLoss);
    const isDue = performance.now() - saved >= 1000 * (resume?.every ?? 60);
    if (path === undefined || step === 0 || tracker.over || !isDue) return;
    mkdirSync(dirname(path), { recursive: true });
    await saveCheckpoint(path, parts, { step, tracker: tracker.save() });
    saved = performance.now();
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
      onStep: async ({ step, loss }) => {
        tracker.step(loss);
        if (isPoint(bench, step)) await measure(step);
        return !tracker.over;
      },
    });
  } catch (error) {
    if (!(error instanceof NumericError)) throw error;
    tracker.diverge();
  } finally {
    evaluator.dispose();
  }
  await onModel?.("last", i, parts);
  const run = tracker.run();
  if (!bench.measureTrain || run.test === null) return run;
  const trained = new Evaluator(model, train, classes, recipe.batch);
  const [measured] = await trained.measure();
  trained.dispose();
  return { ...run, train: measured! };
}
