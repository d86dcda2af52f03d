// The `mad quick` command: runs, live curves in the terminal, a table, a page.

import { rmSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { ConfigError } from "@everlong/core";
import { writeWhole } from "@everlong/data";
import { duration } from "@everlong/train";
import type { Command } from "commander";
import { reportPage } from "../report/page.ts";
import { resultTable, shareText, sparkline } from "../report/table.ts";
import type { CurvePoint, RunRecord } from "../run-record.ts";
import { runAll } from "../train/pool.ts";
import { quickConfigs } from "../train/quick.ts";
import type { RunConfig } from "../train/run.ts";
import { commandLine } from "./command-line.ts";
import type { MadHost } from "./host.ts";
import { workersOf } from "./sweep-command.ts";

interface QuickOptions {
  readonly seed: string;
  readonly out: string;
  readonly json?: boolean;
  readonly workers?: string;
}

/** Task, architecture, curve and figures, at most 80 columns wide. */
const liveLine = (task: string, name: string, curve: string, [accuracy, step]: readonly string[]): string =>
  `${task.padEnd(17)} ${name.padEnd(18)} ${curve.padEnd(21)} ${accuracy!.padStart(5)} ${step!.padStart(7)}`;

/** A live line per run that is under way, finished runs above. */
class LiveCurves {
  readonly #configs: readonly RunConfig[];
  readonly #points: CurvePoint[][];
  readonly #began: number = performance.now();
  readonly #quiet: boolean;
  #drawn = 0;
  #finished = 0;

  constructor(configs: readonly RunConfig[], quiet: boolean) {
    this.#configs = configs;
    this.#points = configs.map(() => []);
    this.#quiet = quiet;
  }

  point(index: number, p: CurvePoint): void {
    this.#points[index]!.push(p);
    if (this.#quiet) return;
    if (process.stderr.isTTY) this.#redraw();
    else if (p.step < this.#configs[index]!.steps && this.#points[index]!.length % 5 === 1)
      process.stderr.write(`${this.#line(index)}\n`);
  }

  record(index: number, r: RunRecord): void {
    this.#finished++;
    if (this.#quiet) return;
    this.#clear();
    process.stderr.write(`${this.#line(index)} ${r.seconds.toFixed(0).padStart(3)} s\n`);
    this.#points[index] = [];
    if (process.stderr.isTTY) this.#redraw();
  }

  #line(index: number): string {
    const { task, architecture, steps } = this.#configs[index]!;
    const points = this.#points[index]!;
    const last = points.at(-1)!;
    return liveLine(task, architecture.name, sparkline(points.map((p) => p.accuracy)), [
      shareText(last.accuracy),
      `${last.step}/${steps}`,
    ]);
  }

  #clear(): void {
    if (this.#drawn > 0 && process.stderr.isTTY) process.stderr.write(`\u001B[${this.#drawn}A\u001B[J`);
    this.#drawn = 0;
  }

  #redraw(): void {
    this.#clear();
    const lines = this.#points.flatMap((p, i) => (p.length > 0 ? [this.#line(i)] : []));
    const clock = duration((performance.now() - this.#began) / 1000);
    lines.push(`${this.#finished} of ${this.#configs.length} runs done, ${clock}`);
    process.stderr.write(`${lines.join("\n")}\n`);
    this.#drawn = lines.length;
  }
}

function wholeNumber(name: string, text: string, low: number): number {
  const n = Number(text);
  if (!Number.isSafeInteger(n) || n < low) {
    throw new ConfigError("mad quick", `--${name} must be a whole number of at least ${low}`, { got: text });
  }
  return n;
}

export function registerQuick(mad: Command, host: MadHost): void {
  mad
    .command("quick")
    .description("train four architectures on three tasks in a few minutes; table and report.html")
    .option("--seed <n>", "seed of data, parameters and order", "12345")
    .option("--out <folder>", "where report.html and runs.json go", ".")
    .option("--workers <n>", "runs side by side (default: one per core; on a GPU 1)")
    .option("--json", "print the records as JSON instead of the table")
    .action(async (options: QuickOptions) => {
      const configs = quickConfigs(wholeNumber("seed", options.seed, 0));
      const workers = workersOf(
        options.workers ? { workers: wholeNumber("workers", options.workers, 1) } : {},
      );
      // before minutes of training, not after them
      const probe = join(options.out, `.everlong-${process.pid}`);
      writeWhole(probe, "");
      rmSync(probe);
      const live = new LiveCurves(configs, options.json ?? false);
      if (!options.json) process.stderr.write(`${liveLine("", "", "test accuracy", ["", "step"])}\n`);
      const began = performance.now();
      const records = await runAll(configs, {
        start: () => host.startWorker(),
        workers,
        onPoint: (i, p) => live.point(i, p),
        onRecord: (i, r) => live.record(i, r),
      });
      const seconds = (performance.now() - began) / 1000;
      const environment = host.environment();
      const page = reportPage(records, {
        title: "MAD quick: four architectures on three tasks",
        command: commandLine(["quick", "--seed", options.seed], environment),
        environment: {
          ...environment,
          cores: `${cpus().length} x ${cpus()[0]?.model.trim() ?? "unknown"}`,
          workers: `${Math.min(workers, configs.length)}`,
          time: duration(seconds),
        },
      });
      const report = join(options.out, "report.html");
      writeWhole(report, page);
      writeWhole(join(options.out, "runs.json"), `${JSON.stringify(records, null, 1)}\n`);
      console.log(
        options.json
          ? JSON.stringify(records)
          : `\n${resultTable(records)}\n\n${duration(seconds)}, report in ${report}`,
      );
    });
}
