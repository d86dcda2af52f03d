import type { Command } from "commander";
import { abcPairs, abcTransfer } from "../metrics/abc-transfer.ts";
import { continualWorldMetrics, readBaselineRun, readSuccessRun } from "../metrics/continual-world.ts";
import type { Repair } from "../logs/reader.ts";
import { shortInterval, shortNumber, textTable } from "../report/tables.ts";
import { measure } from "./measure.ts";
import { withReadOptions } from "./metrics.ts";
import { metricsOptionsOf, withMetricsOptions } from "./metrics-options.ts";
import { outputOf, withJson } from "./output.ts";

interface AbcFlags {
  readonly parts: number;
  readonly repair?: Repair[];
  readonly steDir?: string;
  readonly json?: boolean;
}

/** `abc`: area-between-curves transfer over a folder of lifetimes. */
export function registerAbc(parent: Command): void {
  const command = parent
    .command("abc")
    .description("area-between-curves transfer between the first two tasks of lifetimes")
    .argument("<dir>", "folder of lifetimes in which the tasks come in several orders")
    .option("--parts <n>", "parts of a curve for the division matrix", Number, 4);
  withJson(withMetricsOptions(withReadOptions(command))).action((dir: string, flags: AbcFlags) => {
    const out = outputOf(flags);
    const { repair = [], steDir } = flags;
    const metrics = metricsOptionsOf(flags as unknown as Record<string, unknown>);
    const where = steDir === undefined ? {} : { steDir };
    const reports = measure(dir, { metrics, repair, recursive: true, onWarning: out.note, ...where });
    const values = abcTransfer(
      reports.map((report) => report.lifetime),
      flags.parts,
    );
    for (const { runId, to, area } of values) {
      if (area === null) out.note(`${runId}: no lifetime starts with ${to}`);
    }
    const pairs = abcPairs(values);
    const rows = pairs.map((p) => [p.from, p.to, String(p.count), shortNumber(p.area)]);
    out.text(textTable(["first task", "second task", "lifetimes", "area"], rows));
    out.result({ pairs, lifetimes: values });
  });
}

interface ContinualWorldFlags {
  readonly baseline?: string[];
  readonly window: number;
  readonly json?: boolean;
}

/** `continual-world`: its metrics on its logs. */
export function registerContinualWorld(parent: Command): void {
  const command = parent
    .command("continual-world")
    .description("performance, forgetting and forward transfer of Continual World runs")
    .argument("<runs...>", "run folders, each with a progress.tsv")
    .option("--baseline <dirs...>", "single-task run folders, for forward transfer")
    .option("--window <n>", "evaluations that make up the end", Number, 5);
  withJson(command).action((runs: string[], flags: ContinualWorldFlags) => {
    const out = outputOf(flags);
    const metrics = continualWorldMetrics(
      runs.map(readSuccessRun),
      (flags.baseline ?? []).map(readBaselineRun),
      { window: flags.window },
    );
    out.text(`performance       ${shortInterval(metrics.performance)}`);
    out.text(`forgetting        ${shortInterval(metrics.forgetting)}`);
    if (metrics.forwardTransfer !== null)
      out.text(`forward transfer  ${shortInterval(metrics.forwardTransfer)}`);
    const rows = metrics.perTask.map((t) => [
      t.task,
      shortNumber(t.performance),
      shortNumber(t.forgetting),
      t.forwardTransfer === null ? "n/a" : shortNumber(t.forwardTransfer),
    ]);
    out.text(`\n${textTable(["task", "performance", "forgetting", "forward transfer"], rows)}`);
    out.result(metrics);
  });
}
