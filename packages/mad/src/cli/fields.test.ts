import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addFields, ABSENT, readFields, type Field, type FieldValues } from "./fields.ts";
import { registerMad } from "./mad-command.ts";
import { compatRecipes, RECIPE_FIELDS, recipeOf } from "./recipe-fields.ts";

const FIELDS: readonly Field[] = [
  { name: "batch", kind: "count", positive: true, default: 8, describe: "b", original: ["batch-size"] },
  { name: "learningRates", kind: "numbers", positive: true, describe: "r" },
  { name: "norm", kind: "text", choices: ["layer", "rms"], describe: "n" },
  { name: "wait", kind: "flag", default: true, describe: "w" },
];

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), "everlong-fields-"))));
afterAll(() => rmSync(folder, { recursive: true }));

/** Values that a command line gives. */
function read(line: string): FieldValues {
  let values: FieldValues = {};
  const command = addFields(new Command("c").exitOverride(), FIELDS);
  command.action((given: Record<string, unknown>) => void (values = readFields("c", FIELDS, given)));
  command.parse(line.split(" ").filter(Boolean), { from: "user" });
  return values;
}

function config(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe("options", () => {
  test("flags, mad-lab's spellings, defaults", () => {
    expect(read("")).toEqual({ batch: 8, wait: true });
    expect(read("--batch-size 4 --learning-rates 1e-3 2e-3 --no-wait --norm rms")).toEqual({
      batch: 4,
      learningRates: [1e-3, 2e-3],
      wait: false,
      norm: "rms",
    });
  });

  test("a file, of either kind, under the flags", () => {
    const yaml = config("a.yaml", "batch_size: 16\nlearningRates: [0.1]\nwait: false\n");
    expect(read(`--config ${yaml}`)).toEqual({ batch: 16, learningRates: [0.1], wait: false });
    expect(read(`--config ${yaml} --batch 2`)["batch"]).toBe(2);
    expect(read(`--config ${config("a.json", '{"norm": "layer"}')}`)["norm"]).toBe("layer");
  });

  test.each([
    ["x.yaml", "bach: 3", /unknown option "bach".*Did you mean "batch"/],
    ["x.yaml", "batch: 1.5", /--batch .*whole number of at least 1, got 1\.5/],
    ["x.yaml", "norm: group", /layer, rms/],
    ["x.yaml", "wait: 1", /true or false/],
    ["x.yaml", "a: [1", /cannot read/],
    ["x.json", "[1]", /holds no options/],
    ["x.toml", "", /\.json, \.yaml/],
    ["x.yaml", "num_data_workers: 2", /no counterpart/],
  ])("%s with %j is refused", (name, text, message) => {
    expect(() => read(`--config ${config(name, text)}`)).toThrow(message);
  });

  test("wrong flags are refused", () => {
    expect(() => read("--batch four")).toThrow(/--batch .*whole number of at least 1, got "four"/);
    expect(() => read("--batch 0")).toThrow(/at least 1, got "0"/);
    expect(() => read("--learning-rates 1e-3 -1")).toThrow(/--learning-rates .*a number above 0/);
    expect(() => read("--wandb-project x")).toThrow(/no counterpart/);
    expect(() => read("--config nowhere.yaml")).toThrow(/cannot read/);
  });
});

test("recipes from options", () => {
  const values = readFields("c", RECIPE_FIELDS, { earlyStop: true, scheduler: "none", minLr: "1e-5" });
  expect(recipeOf(values)).toEqual({ schedule: "constant", minLearningRate: 1e-5, patience: 20 });
  expect(compatRecipes("both", { epochs: 3 })).toEqual([
    { epochs: 3 },
    { epochs: 3, schedule: "constant", accuracy: "batches" },
  ]);
});

test("every option of mad-lab's two command lines is understood, or refused with the reason", () => {
  const program = new Command();
  registerMad(program, { startWorker: () => undefined as never, environment: () => ({}) });
  const flags = (name: string): Set<string> => {
    const command = program.commands[0]!.commands.find((c) => c.name() === name)!;
    return new Set(command.options.flatMap((o) => (o.long ? [o.long.slice(2)] : [])));
  };
  const train =
    "task vocab-size seq-len num-train-examples num-test-examples frac-noise noise-vocab-size num-tokens-to-copy k-motif-size v-motif-size multi-query no-multi-query layers backbone dim batch-size epochs optimizer scheduler early-stop stop-patience plateau-patience plateau-factor accelerator devices precision lr min-lr weight-decay log-base-path log-to-csv no-log-to-csv log-to-wandb wandb-project save-checkpoints no-save-checkpoints data-path num-data-workers persistent-data-workers seed target-ignore-index";
  const benchmark =
    "layers dim gpus cpus num-trials-gpu num-cpus-trial num-data-workers precision persistent-workers logs-path log-to-wandb wandb-project data-path ray-tmp-path";
  const run = flags("run");
  const sweep = flags("sweep");
  for (const flag of train.split(" ")) expect(run.has(flag) || flag in ABSENT, flag).toBe(true);
  for (const flag of benchmark.split(" ")) expect(sweep.has(flag) || flag in ABSENT, flag).toBe(true);
});
