// Results of mad-lab's own runs: its log folders, one a run, named after the run's configuration
// (athms/mad-lab mad/paths.py, train.py), as results of this benchmark.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { DataError } from "@everlong/core";
import { readTable, type Row } from "../analysis/runs-table.ts";
import { MAD_SETTINGS, type MadSetting } from "../protocol.ts";
import type { TaskScores } from "../metrics.ts";
import type { TaskOptionName, TaskOptions } from "../tasks/options.ts";
import { findTask, TASKS } from "../tasks/registry.ts";
import { layerNames } from "../train/architecture.ts";
import { makeModel, modelFacts } from "../train/model.ts";
import { parseArchitecture } from "./architecture-name.ts";
import { canonical } from "./cell.ts";
import {
  COMPAT_CHANGES,
  hyperParameters,
  makeRecipe,
  stepsOf,
  stepsPerEpoch,
  type Recipe,
} from "./recipe.ts";
import type { CellResult, CellRun, EpochPoint, ModelFacts } from "./result.ts";
import { makeSetting } from "./suites.ts";

/** What folder names do not say. */
export interface OriginalLogsOptions {
  /** Width of the models. Default 128. */
  readonly dim?: number;
  /** `rms` (default) as in mad-lab's benchmark script, `layer` as in its training script. */
  readonly norm?: Recipe["norm"];
}

/** What was found in a folder of logs. */
export interface OriginalLogs {
  readonly results: readonly CellResult[];
  readonly runs: number;
  /** Folders of runs that did not end. */
  readonly unfinished: readonly string[];
  /** Runs that a setting's sweep lacks, as `model setting: rate, decay`. */
  readonly missing: readonly string[];
  /** Names of models that are no stack of layers known here: their sizes are unknown. */
  readonly unknownModels: readonly string[];
}

/** Short keys of mad-lab's folder names for the options of tasks. */
const OPTION_KEYS: Readonly<Record<string, TaskOptionName>> = {
  vs: "vocabSize",
  sl: "seqLen",
  km: "kMotifSize",
  vm: "vMotifSize",
  fn: "fracNoise",
  nvs: "noiseVocabSize",
  ntc: "numTokensToCopy",
};

interface RunName {
  readonly setting: MadSetting;
  readonly model: string;
  readonly batch: number;
  readonly epochs: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly optimizer: Recipe["optimizer"];
  readonly seed: number;
}

/**
 * Reads a run's folder name, `t-CR_vs-16_..._lr-0#0005_wd-0#0_..._s-12345_model-mA-Sg-mA-Sg`; undefined for other names.
 * `mq` is always 1 there, whatever the run had: mad-lab writes a truth value's text as true.
 */
export function readRunName(name: string): RunName | undefined {
  const [config = "", ...rest] = name.split("_model-");
  if (!config.startsWith("t-") || rest.length === 0) return undefined;
  const values = new Map(
    config.split("_").map((part) => {
      const at = part.indexOf("-");
      return [part.slice(0, at), part.slice(at + 1).replace("#", ".")] as const;
    }),
  );
  const number = (key: string): number => {
    const value = Number(values.get(key) ?? Number.NaN);
    if (!Number.isFinite(value)) {
      throw new DataError("mad import", `"${name}" has no ${key}`, { hint: "Is it a folder of mad-lab's?" });
    }
    return value;
  };
  const task = TASKS.find((t) => t.shorthand === values.get("t") || t.name === values.get("t"));
  if (!task)
    throw new DataError("mad import", `"${name}" names no known task`, { got: values.get("t") ?? "" });
  const baseline = MAD_SETTINGS.find((s) => s.task === task.name && !s.change)!;
  const options = Object.fromEntries(
    Object.entries(OPTION_KEYS).flatMap(([key, option]) =>
      option in baseline.options ? [[option, number(key)]] : [],
    ),
  ) as Partial<TaskOptions>;
  return {
    setting: makeSetting(task.name, options, { trainCount: number("ntr"), testCount: number("nte") }),
    model: rest.join("_model-").replace(/_date-.*$/, ""),
    batch: number("bs"),
    epochs: number("e"),
    learningRate: number("lr"),
    weightDecay: number("wd"),
    optimizer: values.get("opt") === "sgd" ? "sgd" : "adamw",
    seed: number("s"),
  };
}

const numberIn = (row: Row, column: string): number => {
  const value = row[column];
  return typeof value === "number" ? value : Number.NaN;
};

/** mad-lab's figures of one set; it measures no others. */
const scoresOf = (row: Row, set: "train" | "test"): TaskScores => ({
  macroAccuracy: numberIn(row, `${set}_acc`),
  tokenAccuracy: Number.NaN,
  loss: numberIn(row, `${set}_loss`),
  perplexity: numberIn(row, `${set}_ppl`),
});

const UNKNOWN: TaskScores = {
  macroAccuracy: Number.NaN,
  tokenAccuracy: Number.NaN,
  loss: Number.NaN,
  perplexity: Number.NaN,
};

/**
 * The curve that Lightning's CSV logger left. After training, mad-lab measures the training set and then the test set under
 * the test set's names: only epochs that were trained count.
 */
function curveOf(folder: string, recipe: Recipe, setting: MadSetting): EpochPoint[] {
  const path = join(folder, "logs", "metrics.csv");
  if (!existsSync(path)) return [];
  const rows = readTable(path);
  const has = (row: Row, column: string): boolean => Number.isFinite(numberIn(row, column));
  const trained = new Map(
    rows
      .filter((r) => has(r, "train/Loss_epoch"))
      .map((r) => [numberIn(r, "epoch"), numberIn(r, "train/Loss_epoch")]),
  );
  const seen = new Set<number>();
  return rows.flatMap((row): EpochPoint[] => {
    const epoch = numberIn(row, "epoch");
    const trainLoss = trained.get(epoch);
    if (!has(row, "test/Loss_epoch") || trainLoss === undefined || seen.has(epoch)) return [];
    seen.add(epoch);
    return [
      {
        epoch: epoch + 1,
        step: (epoch + 1) * stepsPerEpoch(recipe, setting.trainCount),
        trainLoss,
        testLoss: numberIn(row, "test/Loss_epoch"),
        tokenAccuracy: Number.NaN,
        macroAccuracy: Number.NaN,
        batchAccuracy: numberIn(row, "test/Accuracy_epoch"),
      },
    ];
  });
}

/** Folders with runs' names below a folder. */
function runFolders(root: string): string[] {
  if (!existsSync(root) || !statSync(root).isDirectory())
    throw new DataError("mad import", `${root} is no folder`);
  const own = readRunName(basename(root));
  if (own) return [root];
  return readdirSync(root, { withFileTypes: true })
    .filter((e) => e.isDirectory())
    .flatMap((e) => runFolders(join(root, e.name)));
}

const NO_FACTS: ModelFacts = {
  parameters: Number.NaN,
  layerParameters: Number.NaN,
  stateElements: Number.NaN,
  fixedState: true,
  flopsPerToken: Number.NaN,
};

/** Sizes of a model by its name; undefined for names that are no stack. */
function factsOf(
  model: string,
  setting: MadSetting,
  recipe: Recipe,
): [ModelFacts, readonly string[]] | undefined {
  try {
    const { layers } = parseArchitecture(model);
    const { task, options } = setting;
    const maxLength = options.seqLen!;
    const made = makeModel({ task, options, layers, dim: recipe.dim, norm: recipe.norm, seed: 0, maxLength });
    return [modelFacts(made, findTask(task).configure(options).length), layerNames({ name: model, layers })];
  } catch {
    return undefined;
  }
}

/**
 * Reads every run below a folder of mad-lab's. Of its figures there is accuracy as a mean over batches, loss and perplexity;
 * the others are NaN. The recipe is what mad-lab's code does: a constant rate, whatever schedule the name says.
 * @throws DataError when there is no run
 */
export function readOriginalLogs(root: string, options: OriginalLogsOptions = {}): OriginalLogs {
  const { dim = 128, norm = "rms" } = options;
  const folders = runFolders(root).map((folder) => ({ folder, name: readRunName(basename(folder))! }));
  const isFinished = (folder: string): boolean => existsSync(join(folder, "results.csv"));
  const finished = folders.filter((f) => isFinished(f.folder));
  if (finished.length === 0) {
    throw new DataError("mad import", `${root} holds no finished run of mad-lab's`, {
      expected: "folders t-..._model-... with results.csv",
      got: `${folders.length} unfinished`,
    });
  }
  const by = <T>(items: readonly T[], key: (item: T) => string): T[][] => [
    ...Map.groupBy(items, key).values(),
  ];
  const unknown = new Set<string>();
  const missing: string[] = [];
  const sameRecipe = ({ name: n }: (typeof finished)[number]): string =>
    canonical([n.model, n.batch, n.epochs, n.optimizer, n.seed]);
  const results = by(finished, sameRecipe).flatMap((runs) => {
    const { model, batch, epochs, optimizer, seed } = runs[0]!.name;
    const values = (key: "learningRate" | "weightDecay"): number[] =>
      [...new Set(runs.map((r) => r.name[key]))].toSorted((a, b) => a - b);
    const recipe = makeRecipe({
      ...COMPAT_CHANGES,
      dim,
      norm,
      batch,
      epochs,
      optimizer,
      seed,
      learningRates: values("learningRate"),
      weightDecays: values("weightDecay"),
    });
    return by(runs, (r) => r.name.setting.id).map((cell): CellResult => {
      const { setting } = cell[0]!.name;
      const found = factsOf(model, setting, recipe);
      if (!found) unknown.add(model);
      const [facts, layers] = found ?? [NO_FACTS, [model]];
      const made = hyperParameters(recipe).flatMap(({ learningRate, weightDecay }): CellRun[] => {
        const of = cell.find(
          ({ name: n }) => n.learningRate === learningRate && n.weightDecay === weightDecay,
        );
        if (!of) {
          missing.push(`${model} ${setting.id}: rate ${learningRate}, decay ${weightDecay}`);
          return [];
        }
        const [row] = readTable(join(of.folder, "results.csv"));
        const curve = curveOf(of.folder, recipe, setting);
        const [test, train] = [scoresOf(row!, "test"), scoresOf(row!, "train")];
        const isWhole = Number.isFinite(test.macroAccuracy) && Number.isFinite(test.loss);
        const steps = curve.at(-1)?.step ?? stepsOf(recipe, setting.trainCount);
        const isEarly = isWhole && steps < stepsOf(recipe, setting.trainCount);
        return [
          {
            learningRate,
            weightDecay,
            curve,
            test: isWhole ? { epoch: UNKNOWN, batches: test } : null,
            ...(isWhole ? { train: { epoch: UNKNOWN, batches: train } } : {}),
            stopped: !isWhole
              ? "diverged"
              : !isEarly
                ? "done"
                : test.macroAccuracy >= 0.999
                  ? "accurate"
                  : "steady",
            steps,
          },
        ];
      });
      const { id, task, options: taskOptions, trainCount, testCount } = setting;
      const content = { origin: "mad-lab", model, recipe, task, options: taskOptions, trainCount, testCount };
      return {
        format: 1,
        key: createHash("sha256").update(canonical(content)).digest("hex").slice(0, 40),
        origin: "mad-lab",
        architecture: `${model} (mad-lab)`,
        shorthand: model,
        layers,
        setting: id,
        task,
        options: taskOptions,
        trainCount,
        testCount,
        recipe,
        runs: made,
        leakage: { shared: Number.NaN, fraction: Number.NaN, testRows: testCount },
        model: facts,
        seconds: Number.NaN,
        rowsPerSecond: Number.NaN,
        together: false,
        device: "mad-lab",
        finished: newest(cell.map((r) => join(r.folder, "results.csv"))),
      };
    });
  });
  return {
    results,
    runs: finished.length,
    unfinished: folders.filter((f) => !isFinished(f.folder)).map((f) => f.folder),
    missing,
    unknownModels: [...unknown],
  };
}

const newest = (files: readonly string[]): string =>
  new Date(Math.max(...files.map((f) => statSync(f).mtimeMs))).toISOString();
