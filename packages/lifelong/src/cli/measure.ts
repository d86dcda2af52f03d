// From folders of logs to reports: what `metrics`, `report` and `run --metrics` share.

import { DataError } from "@everlong/core";
import { findLogDirs, type LifetimeLog, type Repair, readLog, resolveLogDir } from "../logs/reader.ts";
import type { MetricsOptions } from "../metrics/options.ts";
import { computeMetrics, type MetricsReport } from "../metrics/report.ts";
import { SteStore } from "../metrics/ste-store.ts";

export interface MeasureOptions {
  readonly metrics: MetricsOptions;
  readonly repair?: readonly Repair[];
  /** Folder of expert runs; default the original's place. */
  readonly steDir?: string;
  /** Log folders below, too. */
  readonly recursive?: boolean;
  readonly onWarning?: (line: string) => void;
}

/** Logs of a folder: itself, or with `recursive` all below it. */
export function* logsIn(
  dir: string,
  options: Pick<MeasureOptions, "recursive" | "repair" | "onWarning">,
): Generator<LifetimeLog> {
  const dirs = options.recursive === true ? findLogDirs(dir) : [resolveLogDir(dir)];
  if (dirs.length === 0) throw new DataError("metrics", `no log folder below ${dir}`);
  for (const one of dirs) {
    const log = readLog(one, { repair: options.repair ?? [] });
    for (const warning of log.warnings) options.onWarning?.(`${log.runId}: ${warning}`);
    yield log;
  }
}

/** Metrics of every lifetime in a folder. Logs of single-task experts are left out of a recursive search. */
export function measure(dir: string, options: MeasureOptions): MetricsReport[] {
  const store = new SteStore(options.steDir);
  const reports: MetricsReport[] = [];
  const warned = new Map<string, string[]>();
  for (const log of logsIn(dir, options)) {
    if (options.recursive === true && log.scenarioInfo.scenario_type === "ste") continue;
    const agnostic = options.metrics.variantMode === "agnostic";
    const tasks = new Set(log.table.tasks.map((task) => (agnostic ? task.split("_")[0]! : task)));
    const report = computeMetrics(log, store.loadAll(tasks), options.metrics);
    for (const warning of report.warnings) warned.set(warning, [...(warned.get(warning) ?? []), log.runId]);
    reports.push(report);
  }
  for (const [warning, of] of warned)
    options.onWarning?.(`${of.length === 1 ? of[0] : `${of.length} lifetimes`}: ${warning}`);
  if (reports.length === 0) throw new DataError("metrics", `only experts' logs below ${dir}`);
  return reports;
}
