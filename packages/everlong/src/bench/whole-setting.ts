// Whole settings from the command line: six times `mad run` beside one `mad sweep`, everything included: starting, data,
// compiling, training, the measurement after every epoch, results.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { EverlongError } from "@everlong/core";
import { makeRecipe, ResultStore, hyperParameters, type CellResult } from "@everlong/mad";
import type { BenchCase } from "./suite.ts";

const here = import.meta.url;
const main = fileURLToPath(new URL(here.endsWith(".ts") ? "../cli/main.ts" : "../cli/main.js", here));

/** What a command line of ours prints. */
function everlong(args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [...process.execArgv, main, ...args]);
  let [out, errors] = ["", ""];
  child.stdout.on("data", (part: Buffer) => (out += part.toString()));
  child.stderr.on("data", (part: Buffer) => (errors += part.toString()));
  return new Promise((resolve, reject) =>
    child.on("exit", (code) =>
      code === 0 ? resolve(out) : reject(new EverlongError("bench", errors.trim().split("\n").at(-1) ?? "")),
    ),
  );
}

interface WholeSetting {
  readonly setting: string;
  readonly stack: string;
  readonly epochs: number;
}

const runs = hyperParameters(makeRecipe());

async function sweep({ setting, stack, epochs }: WholeSetting): Promise<CellResult> {
  const store = mkdtempSync(join(tmpdir(), "everlong-bench-"));
  const choice = ["--suite", "baselines", "--settings", setting, "--epochs", `${epochs}`];
  await everlong(["mad", "sweep", "--architectures", stack, ...choice, "--store", store, "--json"]);
  const [result] = new ResultStore(store).all();
  rmSync(store, { recursive: true });
  return result!;
}

async function alone({ setting, stack, epochs }: WholeSetting, index: number): Promise<CellResult> {
  const { learningRate, weightDecay } = runs[index]!;
  const hyper = ["--lr", `${learningRate}`, "--weight-decay", `${weightDecay}`, "--norm", "rms"];
  const choice = ["--task", setting, "--layers", stack, "--epochs", `${epochs}`];
  return JSON.parse(await everlong(["mad", "run", ...choice, ...hyper, "--json"])) as CellResult;
}

/** Largest relative difference of the runs' final test losses. */
async function deviation(whole: WholeSetting): Promise<number> {
  const swept = await sweep(whole);
  let worst = 0;
  for (const i of [0, runs.length - 1]) {
    const [a, b] = [swept.runs[i]!, (await alone(whole, i)).runs[0]!].map((r) => r.test!.epoch.loss);
    worst = Math.max(worst, Math.abs(a! - b!) / b!);
  }
  return worst;
}

const caseOf = (whole: WholeSetting): BenchCase => ({
  name: `${whole.setting} ${whole.stack}, ${whole.epochs} of 200 epochs`,
  unit: "s",
  toUnit: (ms) => ms / 1000,
  tolerance: 1e-3,
  repeats: 1,
  warm: 0,
  peers: [
    {
      name: "six times mad run",
      prepare: () =>
        Promise.resolve({
          run: async () => {
            const began = performance.now();
            for (const i of runs.keys()) await alone(whole, i);
            return performance.now() - began;
          },
          close: () => {},
        }),
    },
  ],
  prepare: () =>
    Promise.resolve({ run: async () => void (await sweep(whole)), error: () => deviation(whole) }),
});

/** The published baselines that train in minutes, cut short; memorization has 2 steps an epoch, recall 100. */
export const wholeSettings: readonly BenchCase[] = [
  { setting: "memorization", stack: "mA-Sg-mA-Sg", epochs: 5 },
  { setting: "in-context-recall", stack: "H-Sg-H-Sg", epochs: 0.1 },
].map(caseOf);
