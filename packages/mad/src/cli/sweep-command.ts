// `mad sweep`: architectures through the benchmark, on worker threads, in slices, from a cache.

import { availableParallelism } from "node:os";
import { ConfigError, defaultDevice } from "@everlong/core";
import { duration, Progress } from "@everlong/train";
import type { Command } from "commander";
import { parseArchitecture } from "../benchmark/architecture-name.ts";
import { makeCell, sliceOf, type Cell } from "../benchmark/cell.ts";
import { ISO_STATE, isoState, type IsoStateReport } from "../benchmark/iso-state.ts";
import { loadPlugins, type Plugin } from "../benchmark/plugin.ts";
import { makeRecipe } from "../benchmark/recipe.ts";
import { cellWork, runCells, type RunCellsReport } from "../benchmark/runner.ts";
import { cellScore, scoreArchitectures, winner } from "../benchmark/scores.ts";
import { ResultStore } from "../benchmark/store.ts";
import { findSuite, selectSettings, SUITES } from "../benchmark/suites.ts";
import { scoreTable } from "../report/score-table.ts";
import { shareText } from "../report/table.ts";
import type { Architecture } from "../train/architecture.ts";
import { addFields, readFields, type Field, type FieldValues } from "./fields.ts";
import type { MadHost } from "./host.ts";
import { compatRecipes, RECIPE_FIELDS, recipeOf } from "./recipe-fields.ts";

/** Which architectures and settings. */
export const CHOICE_FIELDS: readonly Field[] = [
  {
    name: "architectures",
    kind: "texts",
    describe: 'stacks such as mH-Sg-mA-Sg or "Mb(stateSize=8)-Sg"; name=stack names one',
  },
  { name: "layers", kind: "texts", describe: "layers of one architecture, in order" },
  { name: "plugin", kind: "texts", describe: "files that export layers of your own" },
  {
    name: "suite",
    kind: "text",
    default: "full",
    describe: `settings: ${SUITES.map((s) => s.name).join(", ")}`,
  },
  { name: "settings", kind: "texts", describe: 'only settings such as CR, "CR/vocabSize=*", memorization' },
  {
    name: "compat",
    kind: "text",
    choices: ["off", "on", "both"],
    default: "off",
    describe: "train as mad-lab does where it differs from its description (constant rate)",
  },
  { name: "learningRates", kind: "numbers", positive: true, describe: "learning rates of the sweep" },
  { name: "weightDecays", kind: "numbers", describe: "weight decays of the sweep" },
  ...RECIPE_FIELDS,
];

/** Where and how work is done. */
export const WORK_FIELDS: readonly Field[] = [
  {
    name: "store",
    kind: "text",
    default: "mad-results",
    describe: "folder of results; several processes may share it",
    original: ["logs-path", "log-base-path"],
  },
  {
    name: "workers",
    kind: "count",
    positive: true,
    describe: "settings, or runs of one, trained side by side (default: one per core; on a GPU 1)",
    original: ["cpus", "num-trials-gpu"],
  },
  {
    name: "together",
    kind: "text",
    choices: ["auto", "on", "off"],
    default: "auto",
    describe: "a setting's runs as one compiled step",
  },
  {
    name: "checkpointEvery",
    kind: "number",
    default: 60,
    describe: "least seconds between the checkpoints of an unfinished setting",
  },
  { name: "again", kind: "flag", describe: "train what the store already holds" },
  {
    name: "gpus",
    kind: "count",
    default: 1,
    describe: "one GPU a process; start more processes with --slice for more",
    original: ["devices"],
  },
];

const SWEEP_FIELDS: readonly Field[] = [
  ...CHOICE_FIELDS,
  ...WORK_FIELDS,
  { name: "isoState", kind: "flag", describe: `bring fixed-state layers to ${ISO_STATE} numbers of state` },
  { name: "slice", kind: "text", describe: "only part P of N, as P/N" },
  { name: "wait", kind: "flag", default: true, describe: "wait for settings that other processes are at" },
];

/** Workers by `--workers`: by default one for each core, or one that has the GPU to itself. */
export const workersOf = (values: FieldValues): number =>
  (values["workers"] as number | undefined) ??
  (defaultDevice().name.startsWith("cpu") ? availableParallelism() : 1);

/** Threads of each worker: the cores are shared out. */
export const threadsOf = (values: FieldValues): number =>
  Math.max(1, Math.floor(availableParallelism() / workersOf(values)));

/** A process drives one GPU. */
export function checkGpus(op: string, values: FieldValues): void {
  if (values["gpus"] === 1) return;
  throw new ConfigError(op, "a process uses one GPU", {
    got: String(values["gpus"]),
    hint: "Start a process per GPU with CUDA_VISIBLE_DEVICES set; they share the work through --store.",
  });
}

/** Architectures that `--architectures` and `--layers` name. */
export function chosenArchitectures(values: FieldValues, plugins: readonly Plugin[]): Architecture[] {
  const more = plugins.flatMap((p) => p.entries);
  const texts = (values["architectures"] ?? []) as string[];
  const layers = values["layers"] as string[] | undefined;
  const named = texts.map((text) => {
    const [, name, stack] = /^([^()=]+)=(.*)$/.exec(text) ?? [];
    const parsed = parseArchitecture(stack ?? text, more);
    return name === undefined ? parsed : { ...parsed, name };
  });
  const all = layers ? [...named, parseArchitecture(layers.join(" "), more)] : named;
  if (all.length > 0) return all;
  throw new ConfigError("mad sweep", "no architecture", {
    hint: "Name some: --architectures mH-Sg-mA-Sg Mb-Sg-Mb-Sg, or --layers hyena swiglu hyena swiglu.",
  });
}

/** What became of an architecture's states. */
function isoStateText({ architecture, layers, before, after, target }: IsoStateReport): string {
  const changes = layers.flatMap((l) => (l.change ? [`${l.layer} ${l.change}`] : []));
  const growing = layers.filter((l) => l.kind === "grows").map((l) => l.layer);
  return [
    `${architecture.name}: fixed state ${before} -> ${after} of ${target}`,
    ...(changes.length > 0 ? [changes.join(", ")] : []),
    ...(growing.length > 0 ? [`growing with the sequence: ${growing.join(", ")}`] : []),
  ].join("; ");
}

/** The cells that the options ask for, architectures in order. */
async function chosenCells(values: FieldValues): Promise<Cell[]> {
  const plugins = await loadPlugins((values["plugin"] ?? []) as string[]);
  const suite = findSuite(values["suite"] as string);
  const settings = selectSettings(suite.settings, (values["settings"] ?? []) as string[]);
  const lists = Object.fromEntries(
    ["learningRates", "weightDecays"].flatMap((name) => (name in values ? [[name, values[name]]] : [])),
  );
  const recipes = compatRecipes(values["compat"] as string, {
    ...suite.recipe,
    ...recipeOf(values),
    ...lists,
  });
  const more = plugins.flatMap((p) => p.entries);
  const dim = makeRecipe(recipes[0]).dim;
  const architectures = chosenArchitectures(values, plugins).map((a) => {
    if (values["isoState"] !== true) return a;
    const report = isoState(a, { more, dim });
    process.stderr.write(`${isoStateText(report)}\n`);
    return report.architecture;
  });
  return architectures.flatMap((a) =>
    recipes.flatMap((recipe) => settings.map((setting) => makeCell(a, setting, recipe, plugins))),
  );
}

function slice(cells: readonly Cell[], text: unknown): readonly Cell[] {
  if (text === undefined) return cells;
  const [, part, of] = /^(\d+)\/(\d+)$/.exec(text as string) ?? [];
  if (part === undefined) {
    throw new ConfigError("mad sweep", "--slice has a wrong value", {
      expected: "P/N, such as 3/10",
      got: JSON.stringify(text),
    });
  }
  return sliceOf(cells, Number(part), Number(of));
}

/** Shows what happens while cells are trained. */
export class CellProgress {
  readonly #progress: Progress;
  readonly #quiet: boolean;
  readonly #done: Map<string, number> = new Map();
  readonly #work: ReadonlyMap<string, number>;

  constructor(cells: readonly Cell[], quiet: boolean) {
    this.#work = new Map(cells.map((c) => [c.key, cellWork(c)]));
    this.#quiet = quiet;
    this.#progress = new Progress([...this.#work.values()].reduce((a, b) => a + b, 0));
  }

  point(cell: Cell, share: number, text: string): void {
    this.#done.set(cell.key, share * this.#work.get(cell.key)!);
    if (this.#quiet) return;
    const done = [...this.#done.values()].reduce((a, b) => a + b, 0);
    this.#progress.update(done, `${cell.architecture} ${cell.setting.id}  ${text}`);
  }

  /** Its last point is shown; what comes next counts it as done. */
  ended(cell: Cell): void {
    this.#done.set(cell.key, this.#work.get(cell.key)!);
  }

  line(text: string): void {
    if (this.#quiet) return;
    process.stderr.write(process.stderr.isTTY ? `\r\u001B[K${text}\n` : `${text}\n`);
  }
}

/** Trains cells with progress on standard error; Ctrl-C ends it after the cells' claims are freed. */
export async function trainCells(
  cells: readonly Cell[],
  values: FieldValues,
  host: MadHost,
  quiet: boolean,
): Promise<RunCellsReport> {
  const progress = new CellProgress(cells, quiet);
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  try {
    return await runCells(cells, {
      store: new ResultStore(values["store"] as string),
      start: () => host.startWorker(threadsOf(values)),
      workers: workersOf(values),
      checkpointEvery: values["checkpointEvery"] as number,
      together: values["together"] as "auto" | "on" | "off",
      again: values["again"] === true,
      wait: values["wait"] !== false,
      signal: stop.signal,
      onPoint: (cell, _run, p, done) =>
        progress.point(cell, done, `accuracy ${shareText(p.macroAccuracy)}  loss ${p.testLoss.toFixed(3)}`),
      onResult: (cell, result, cached) => {
        progress.ended(cell);
        const score = shareText(cellScore(result, "macro"));
        const how = cached ? "from the store" : `${duration(result.seconds)}, ${winner(result)}`;
        progress.line(`${score}  ${cell.architecture}  ${cell.setting.id}  (${how})`);
      },
      onFailure: (cell, message) =>
        progress.line(`failed ${cell.architecture}  ${cell.setting.id}: ${message}`),
    });
  } finally {
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
  }
}

export function registerSweep(mad: Command, host: MadHost): void {
  const command = mad
    .command("sweep")
    .description("train architectures on the benchmark's settings, each with its sweep of rates and decays")
    .option("--dry-run", "list what would be trained")
    .option("--json", "print scores and failures as JSON");
  addFields(command, SWEEP_FIELDS).action(async (given: Record<string, unknown>) => {
    const { json, dryRun, ...rest } = given;
    const values = readFields("mad sweep", SWEEP_FIELDS, rest);
    checkGpus("mad sweep", values);
    const cells = slice(await chosenCells(values), values["slice"]);
    if (dryRun === true) {
      const store = new ResultStore(values["store"] as string);
      const lines = cells.map((c) => ({
        key: c.key,
        architecture: c.architecture,
        setting: c.setting.id,
        done: store.has(c.key),
      }));
      console.log(
        json === true
          ? JSON.stringify(lines)
          : lines.map((l) => `${l.done ? "done " : "     "} ${l.architecture}  ${l.setting}`).join("\n"),
      );
      return;
    }
    const report = await trainCells(cells, values, host, json === true);
    const scores = scoreArchitectures(report.results);
    const { failures, missing, trained } = report;
    if (json === true) {
      const short = scores.map(({ results: _results, ...score }) => score);
      const failed = failures.map((f) => ({
        architecture: f.cell.architecture,
        setting: f.cell.setting.id,
        message: f.message,
      }));
      console.log(JSON.stringify({ scores: short, failures: failed, trained, missing: missing.length }));
    } else {
      const rest2 = missing.length > 0 ? `, ${missing.length} left` : "";
      const table = scores.length > 0 ? `\n${scoreTable(scores)}\n` : "";
      console.log(`${table}\n${trained} trained, ${failures.length} failed${rest2}`);
    }
    if (failures.length > 0 || missing.length > 0) process.exitCode = 1;
  });
}
