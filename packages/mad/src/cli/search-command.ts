// `mad search`: evolution over layer orders, on cached results, with a confirmation under fresh seeds.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, EverlongError } from "@everlong/core";
import { writeWhole } from "@everlong/data";
import { duration } from "@everlong/train";
import type { Command } from "commander";
import { parseArchitecture } from "../benchmark/architecture-name.ts";
import { canonical, makeCell } from "../benchmark/cell.ts";
import { loadPlugins, type Plugin } from "../benchmark/plugin.ts";
import { makeRecipe, type Recipe } from "../benchmark/recipe.ts";
import { runCells } from "../benchmark/runner.ts";
import { scoreArchitectures } from "../benchmark/scores.ts";
import { ResultStore } from "../benchmark/store.ts";
import { findSuite, selectSettings } from "../benchmark/suites.ts";
import type { MadSetting } from "../protocol.ts";
import { alignedTable } from "../report/score-table.ts";
import { countText, shareText } from "../report/table.ts";
import { judge, verdictText, type Repeated, type Verdict } from "../search/confirm.ts";
import { evolve, ranked, type EvolutionResult, type Measurement, type Trial } from "../search/evolution.ts";
import { findTask } from "../tasks/registry.ts";
import { addFields, readFields, type Field, type FieldValues } from "./fields.ts";
import type { MadHost } from "./host.ts";
import { RECIPE_FIELDS, recipeOf } from "./recipe-fields.ts";
import { threadsOf, WORK_FIELDS, workersOf } from "./sweep-command.ts";

const SEARCH_FIELDS: readonly Field[] = [
  {
    name: "words",
    kind: "texts",
    default: ["mA(heads=4)", "H", "mH(heads=8)", "Mb", "mAlg(heads=4)", "Sg", "M"],
    describe: "layers that stacks are made of",
  },
  {
    name: "parents",
    kind: "texts",
    describe: "stacks to start from (default: each mixer with SwiGLU between)",
  },
  { name: "minLayers", kind: "count", positive: true, default: 4, describe: "fewest layers" },
  { name: "maxLayers", kind: "count", positive: true, default: 4, describe: "most layers" },
  { name: "suite", kind: "text", default: "reduced", describe: "settings that stacks are scored on" },
  { name: "settings", kind: "texts", describe: "only these settings" },
  {
    name: "minutes",
    kind: "number",
    positive: true,
    default: 20,
    describe: "time of trainings, over the workers",
  },
  { name: "trials", kind: "count", positive: true, describe: "most stacks tried" },
  { name: "population", kind: "count", positive: true, default: 12, describe: "stacks alive at a time" },
  {
    name: "tournament",
    kind: "count",
    positive: true,
    default: 4,
    describe: "of which the best has a child",
  },
  { name: "searchSeed", kind: "count", default: 0, describe: "seed of the search's own choices" },
  {
    name: "confirm",
    kind: "count",
    default: 3,
    describe: "fresh seeds for the best and its parents; 0: none",
  },
  { name: "plugin", kind: "texts", describe: "files that export layers of your own" },
  ...RECIPE_FIELDS,
  ...WORK_FIELDS.filter((f) => f.name !== "gpus"),
];

/** What a search leaves in its folder. */
export interface SearchRecord {
  readonly format: 1;
  /** Options that decide the search's way. */
  readonly choices: Readonly<Record<string, unknown>>;
  readonly history: readonly Trial[];
  readonly stopped: EvolutionResult["stopped"];
  readonly verdict: Verdict | null;
}

/** Options that change what is tried; the others change only how fast or how far. */
const DECIDING = [
  "words",
  "parents",
  "minLayers",
  "maxLayers",
  "suite",
  "settings",
  "population",
  "tournament",
  "searchSeed",
  ...RECIPE_FIELDS.map((f) => f.name),
];

/** Trains stacks on the suite and scores them. */
class Laboratory {
  readonly #settings: readonly MadSetting[];
  readonly #recipe: Partial<Recipe>;
  readonly #plugins: readonly Plugin[];
  readonly #values: FieldValues;
  readonly #host: MadHost;
  readonly #signal: AbortSignal;
  readonly workers: number;

  constructor(values: FieldValues, plugins: readonly Plugin[], host: MadHost, signal: AbortSignal) {
    const suite = findSuite(values["suite"] as string);
    this.#settings = selectSettings(suite.settings, (values["settings"] ?? []) as string[]);
    this.#recipe = { ...suite.recipe, ...recipeOf(values) };
    [this.#plugins, this.#values, this.#host, this.#signal] = [plugins, values, host, signal];
    this.workers = workersOf(values);
  }

  get seed(): number {
    return makeRecipe(this.#recipe).seed;
  }

  async measure(stack: string, seed: number): Promise<Measurement> {
    const architecture = parseArchitecture(
      stack,
      this.#plugins.flatMap((p) => p.entries),
    );
    const cells = this.#settings.map((s) =>
      makeCell(architecture, s, { ...this.#recipe, seed }, this.#plugins),
    );
    const { results, failures } = await runCells(cells, {
      store: new ResultStore(this.#values["store"] as string),
      start: () => this.#host.startWorker(threadsOf(this.#values)),
      workers: this.workers,
      checkpointEvery: this.#values["checkpointEvery"] as number,
      together: this.#values["together"] as "auto" | "on" | "off",
      signal: this.#signal,
    });
    if (failures[0]) throw new EverlongError("mad search", `${stack}: ${failures[0].message}`);
    if (results.length < cells.length)
      throw new EverlongError("mad search", "interrupted", { hint: "The same command goes on from there." });
    const [score] = scoreArchitectures(results);
    const largest = results.reduce((a, b) => (b.model.stateElements > a.model.stateElements ? b : a));
    return {
      score: score!.total.macro,
      tasks: Object.fromEntries(score!.tasks.map((t) => [t.task, t.score.macro])),
      parameters: largest.model.layerParameters,
      stateElements: largest.model.stateElements,
      seconds: results.reduce((s, r) => s + r.seconds, 0) / Math.min(this.workers, cells.length),
    };
  }
}

/** Each sequence mixer twice, with SwiGLU between. */
const defaultParents = (words: readonly string[]): string[] =>
  words.filter((w) => !["Sg", "M", "MoE", "G"].includes(w)).map((w) => `${w}-Sg-${w}-Sg`);

/** The best trials; columns of tasks under their shorthands, as in tables of scores. */
export function trialTable(history: readonly Trial[], most: number): string {
  const rows = ranked(history)
    .slice(0, most)
    .map((t) => [
      t.stack,
      shareText(t.score),
      ...Object.values(t.tasks).map(shareText),
      countText(t.parameters),
      countText(t.stateElements),
      t.origin.how === "parent" ? "parent" : `${t.origin.how} of ${t.origin.parents.join(", ")}`,
      `${t.index}`,
    ]);
  const tasks = Object.keys(history[0]?.tasks ?? {}).map((name) => findTask(name).shorthand);
  return alignedTable(["stack", "score", ...tasks, "parameters", "state", "origin", "trial"], rows);
}

function checkContinues(path: string, choices: object): void {
  if (!existsSync(path)) return;
  const before = JSON.parse(readFileSync(path, "utf8")) as SearchRecord;
  if (canonical(before.choices) === canonical(choices)) return;
  const differ = DECIDING.filter(
    (name) => canonical(before.choices[name]) !== canonical((choices as Record<string, unknown>)[name]),
  );
  throw new ConfigError("mad search", `${path} holds a search with other options`, {
    got: `different ${differ.join(", ")}`,
    hint: "Give the same options to go on, or another --out.",
  });
}

export function registerSearch(mad: Command, host: MadHost): void {
  const command = mad
    .command("search")
    .description("search layer orders by evolution; start it again to go on, with more minutes or trials")
    .option("--out <folder>", "where search.json goes (default: the store)")
    .option("--json", "print the record as JSON");
  addFields(command, SEARCH_FIELDS).action(async (given: Record<string, unknown>) => {
    const { json, out, ...rest } = given;
    const read = readFields("mad search", SEARCH_FIELDS, rest);
    const words = read["words"] as string[];
    const values: FieldValues = { ...read, parents: read["parents"] ?? defaultParents(words) };
    const plugins = await loadPlugins((values["plugin"] ?? []) as string[]);
    const path = join((out ?? values["store"]) as string, "search.json");
    const choices = Object.fromEntries(DECIDING.map((name) => [name, values[name]]));
    checkContinues(path, choices);
    const stop = new AbortController();
    process.once("SIGINT", () => stop.abort());
    process.once("SIGTERM", () => stop.abort());
    const lab = new Laboratory(values, plugins, host, stop.signal);
    const say = (text: string): void => void (json === true || process.stderr.write(`${text}\n`));
    const history: Trial[] = [];
    const save = (stopped: EvolutionResult["stopped"], verdict: Verdict | null): SearchRecord => {
      const record: SearchRecord = { format: 1, choices, history, stopped, verdict };
      writeWhole(path, `${JSON.stringify(record, null, 1)}\n`);
      return record;
    };
    let spent = 0;
    const { stopped } = await evolve({
      space: {
        words,
        minLayers: values["minLayers"] as number,
        maxLayers: values["maxLayers"] as number,
      },
      parents: values["parents"] as string[],
      evaluate: (stack) => lab.measure(stack, lab.seed),
      population: values["population"] as number,
      tournament: values["tournament"] as number,
      seed: values["searchSeed"] as number,
      budget: 60 * (values["minutes"] as number),
      ...(values["trials"] === undefined ? {} : { trials: values["trials"] as number }),
      more: plugins.flatMap((p) => p.entries),
      signal: stop.signal,
      onTrial: (t) => {
        history.push(t);
        spent += t.seconds;
        save("signal", null);
        say(
          `${String(t.index).padStart(4)}  ${duration(spent)}  ${shareText(t.score)}  ${t.stack}  (${t.origin.how})`,
        );
      },
    });
    const parents = ranked(history.filter((t) => t.origin.how === "parent"));
    const best = ranked(history)[0]!;
    let verdict: Verdict | null = null;
    const seeds = Array.from({ length: values["confirm"] as number }, (_, i) => lab.seed + 1 + i);
    if (seeds.length > 0 && best.origin.how !== "parent" && stopped !== "signal") {
      say(`confirming ${best.stack} and ${parents.length} parents under ${seeds.length} fresh seeds`);
      const repeat = async (stack: string): Promise<Repeated> => {
        const scores: number[] = [];
        for (const seed of seeds) scores.push((await lab.measure(stack, seed)).score);
        say(`      ${scores.map(shareText).join(" ")}  ${stack}`);
        return { stack, scores };
      };
      const candidate = await repeat(best.stack);
      const others: Repeated[] = [];
      for (const p of parents) others.push(await repeat(p.stack));
      verdict = judge(candidate, others);
    }
    const record = save(stopped, verdict);
    if (json === true) {
      console.log(JSON.stringify(record));
      return;
    }
    console.log(`\n${trialTable(history, 12)}\n`);
    console.log(`${history.length} stacks tried in ${duration(spent)} of training (${stopped})`);
    if (verdict) console.log(verdictText(verdict));
    else if (best.origin.how === "parent") console.log(`No stack scored above the parent ${best.stack}.`);
  });
}
