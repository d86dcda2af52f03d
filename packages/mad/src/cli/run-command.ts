// `mad run`: one training run of any layers on any task.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkOptions, ConfigError } from "@everlong/core";
import { findLayer } from "@everlong/nn";
import { Progress } from "@everlong/train";
import type { Command } from "commander";
import { reportPage } from "../report/page.ts";
import { resultTable, shareText } from "../report/table.ts";
import { TASK_OPTIONS, type TaskOptions } from "../tasks/options.ts";
import { findTask } from "../tasks/registry.ts";
import { trainRun, type RunConfig } from "../train/run.ts";
import type { MadHost } from "./host.ts";

interface RunOptions {
  readonly task: string;
  readonly layers: readonly string[];
  readonly set?: readonly string[];
  readonly dim: string;
  readonly trainRows: string;
  readonly testRows: string;
  readonly batch: string;
  readonly epochs: string;
  readonly lr: string;
  readonly weightDecay: string;
  readonly warmup: string;
  readonly clip: string;
  readonly seed: string;
  readonly stopAt?: string;
  readonly out?: string;
  readonly json?: boolean;
}

function numberOf(name: string, text: string): number {
  const n = Number(text);
  if (text.trim() === "" || !Number.isFinite(n))
    throw new ConfigError("mad run", `--${name} must be a number`, { got: text });
  return n;
}

/** `vocabSize=32` pairs; the original's key names are understood too. */
function taskOptions(pairs: readonly string[]): Partial<TaskOptions> {
  const own = new Map(
    Object.entries(TASK_OPTIONS).flatMap(([name, o]) => [
      [name, name],
      [o.original, name],
    ]),
  );
  const given = pairs.map((pair) => {
    const [name, value] = pair.split("=", 2);
    if (name === undefined || value === undefined) {
      throw new ConfigError("mad run", "--set takes name=value", { got: pair });
    }
    const known = own.get(name);
    if (!known) checkOptions("mad run --set", { [name]: value }, Object.keys(TASK_OPTIONS));
    const parsed = value === "true" ? true : value === "false" ? false : numberOf(`set ${name}`, value);
    return [known ?? name, parsed] as const;
  });
  return Object.fromEntries(given);
}

function configOf(o: RunOptions): RunConfig {
  const task = findTask(o.task);
  // Names are checked before data is made.
  const layers = o.layers.map((name) => findLayer(name).name);
  const [trainRows, batch] = [numberOf("train-rows", o.trainRows), numberOf("batch", o.batch)];
  const steps = Math.max(1, Math.round(numberOf("epochs", o.epochs) * Math.floor(trainRows / batch)));
  return {
    architecture: { name: layers.join(" "), layers },
    task: task.name,
    taskOptions: taskOptions(o.set ?? []),
    dim: numberOf("dim", o.dim),
    trainRows,
    testRows: numberOf("test-rows", o.testRows),
    batch,
    steps,
    learningRate: numberOf("lr", o.lr),
    weightDecay: numberOf("weight-decay", o.weightDecay),
    warmup: numberOf("warmup", o.warmup),
    clip: numberOf("clip", o.clip),
    seed: numberOf("seed", o.seed),
    ...(o.stopAt === undefined ? {} : { stopAt: numberOf("stop-at", o.stopAt) }),
  };
}

export function registerRun(mad: Command, host: MadHost): void {
  mad
    .command("run")
    .description("train a stack of layers on a task and measure it")
    .requiredOption("--task <name>", "task, or its shorthand (see `mad tasks`)")
    .requiredOption("--layers <names...>", "layers in order, names or shorthands (see `mad layers`)")
    .option("--set <name=value...>", "task options")
    .option("--dim <n>", "width", "128")
    .option("--train-rows <n>", "training examples", "12800")
    .option("--test-rows <n>", "test examples", "1280")
    .option("--batch <n>", "batch size", "128")
    .option("--epochs <n>", "passes over the training examples; fractions count", "200")
    .option("--lr <x>", "peak learning rate", "5e-4")
    .option("--weight-decay <x>", "decoupled weight decay", "0")
    .option("--warmup <n>", "steps of linear warm-up", "0")
    .option("--clip <x>", "limit of the gradient norm", "1")
    .option("--seed <n>", "seed of data, parameters and order", "12345")
    .option("--stop-at <x>", "end once the test accuracy reaches this")
    .option("--out <folder>", "write report.html and runs.json there")
    .option("--json", "print the record as JSON")
    .action(async (options: RunOptions) => {
      const config = configOf(options);
      const progress = new Progress(config.steps);
      const record = await trainRun(config, (p) =>
        progress.update(p.step, `accuracy ${shareText(p.accuracy)}  test loss ${p.testLoss.toFixed(3)}`),
      );
      progress.done();
      if (options.out !== undefined) {
        mkdirSync(options.out, { recursive: true });
        const title = `MAD run: ${config.architecture.name} on ${config.task}`;
        const line = `everlong mad run --task ${config.task} --layers ${options.layers.join(" ")}`;
        const page = reportPage([record], { title, command: line, environment: host.environment() });
        writeFileSync(join(options.out, "report.html"), page);
        writeFileSync(join(options.out, "runs.json"), `${JSON.stringify([record], null, 1)}\n`);
      }
      console.log(options.json ? JSON.stringify(record) : resultTable([record]));
    });
}
