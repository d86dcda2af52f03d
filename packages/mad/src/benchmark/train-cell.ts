// Trains runs of a cell: together as one compiled step, or one after the other.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, defaultDevice } from "@everlong/core";
import { writeWhole } from "@everlong/data";
import type { LayerEntry } from "@everlong/nn";
import { checkPrecision, type CheckpointParts } from "@everlong/train";
import { settingData } from "../protocol.ts";
import { checkLeakage, type Leakage } from "../tasks/leakage.ts";
import { makeModel, modelFacts, vocabularyOf } from "../train/model.ts";
import { resolveLayers } from "./architecture-name.ts";
import type { Cell } from "./cell.ts";
import type { CellModel, CellTraining, ResumeOptions } from "./cell-training.ts";
import { loadPlugins } from "./plugin.ts";
import { hyperParameters, stepsOf, stepsPerEpoch } from "./recipe.ts";
import type { CellResult, CellRun, EpochPoint } from "./result.ts";
import { trainAlone } from "./train-apart.ts";
import { NotTogether, trainTogether } from "./train-together.ts";

export interface TrainCellOptions {
  /**
   * Whether the runs are one compiled step over stacked parameters. `auto` (default): together, or one by one where a
   * layer cannot be batched over runs.
   */
  readonly together?: "auto" | "on" | "off";
  /** Called at every measurement of every run; `done` is the share of the steps made. */
  readonly onPoint?: (run: number, point: EpochPoint, done: number) => void;
  /**
   * Called with a run's model and optimiser when its test loss is the lowest so far (`best`) and when it ends (`last`).
   * Runs are then trained one by one.
   */
  readonly onModel?: (which: "best" | "last", run: number, parts: CheckpointParts) => Promise<void>;
  /** Also measure the training set in the end, as mad-lab does; runs are then trained one by one. Default false. */
  readonly measureTrain?: boolean;
  /** Runs leave checkpoints and go on from them, bit for bit. */
  readonly resume?: ResumeOptions;
  /** Which runs to train, by their places in the recipe's order. Default: all. */
  readonly runs?: readonly number[];
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
  checkPrecision(recipe.precision, defaultDevice());
  const places = placesOf(cell, options.runs);
  const plugins = await loadPlugins(cell.plugins);
  const more: readonly LayerEntry[] = plugins.flatMap((p) => p.entries);
  const layers = resolveLayers({ name: cell.architecture, layers: cell.layers }, more).map(
    ({ entry, options: given }) => ({ layer: entry, options: given }),
  );
  const { train, test } = settingData(setting, { seed: recipe.seed, compat: recipe.publishedData });
  const leakage: Leakage = checkLeakage(train, test);
  const newModel = (): CellModel =>
    makeModel({
      task: setting.task,
      options: setting.options,
      layers,
      dim: recipe.dim,
      norm: recipe.norm,
      seed: recipe.seed,
      maxLength: recipe.maxLength ?? setting.options.seqLen ?? train.length,
    });
  const training: CellTraining = {
    cell,
    train,
    test,
    classes: vocabularyOf(setting.options),
    steps: stepsOf(recipe, setting.trainCount),
    perEpoch: stepsPerEpoch(recipe, setting.trainCount),
    places,
    newModel,
    onPoint,
    onModel,
    measureTrain,
    resume: options.resume,
  };
  const began = performance.now();
  let runs: readonly CellRun[];
  let isTogether = together !== "off" && places.length > 1;
  try {
    runs = await (isTogether ? trainPlaces(training, trainTogether) : trainApart(training));
  } catch (error) {
    if (!(error instanceof NotTogether)) throw error;
    if (together === "on") throw error.cause;
    isTogether = false;
    runs = await trainApart(training);
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

/** The runs that were asked for. */
function placesOf({ recipe }: Cell, wanted?: readonly number[]): CellTraining["places"] {
  const all = hyperParameters(recipe).map((hyper, index) => ({ index, hyper }));
  const chosen = wanted ? all.filter((p) => wanted.includes(p.index)) : all;
  if (wanted && (chosen.length === 0 || chosen.length !== wanted.length)) {
    throw new ConfigError("mad cell", "no such runs", {
      expected: `places from 0 to ${all.length - 1}`,
      got: wanted.join(", "),
    });
  }
  return chosen;
}

/** The result of a cell whose runs were trained in parts side by side. */
export function joinParts(parts: readonly CellResult[]): CellResult {
  const seconds = Math.max(...parts.map((p) => p.seconds));
  const rows = parts.reduce((sum, p) => sum + p.rowsPerSecond * p.seconds, 0);
  const runs = parts.flatMap((p) => p.runs);
  return {
    ...parts.at(-1)!,
    runs: hyperParameters(parts[0]!.recipe).flatMap(({ learningRate, weightDecay }) =>
      runs.filter((r) => r.learningRate === learningRate && r.weightDecay === weightDecay),
    ),
    seconds,
    rowsPerSecond: rows / seconds,
    together: parts.every((p) => p.together),
  };
}

/** Runs that ended before an interruption are not trained again. */
async function trainPlaces(
  training: CellTraining,
  train: (training: CellTraining) => Promise<readonly CellRun[]>,
): Promise<CellRun[]> {
  const { places, resume } = training;
  if (!resume) return [...(await train(training))];
  const pathOf = (index: number): string => join(resume.folder, `run-${index}.json`);
  const missing = places.filter((p) => !existsSync(pathOf(p.index)));
  const made = missing.length === 0 ? [] : await train({ ...training, places: missing });
  missing.forEach((p, i) => writeWhole(pathOf(p.index), JSON.stringify(made[i])));
  return places.map((p) => {
    const at = missing.indexOf(p);
    return at >= 0 ? made[at]! : (JSON.parse(readFileSync(pathOf(p.index), "utf8")) as CellRun);
  });
}

async function trainApart(training: CellTraining): Promise<CellRun[]> {
  const runs: CellRun[] = [];
  for (const place of training.places) {
    const one = (t: CellTraining): Promise<CellRun[]> =>
      trainAlone({ ...t, places: training.places }, place).then((r) => [r]);
    runs.push(...(await trainPlaces({ ...training, places: [place] }, one)));
  }
  return runs;
}
