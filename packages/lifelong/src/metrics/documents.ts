// The original's result files: `<run>_metrics.json`, `<run>_regime.tsv`, `ll_metrics.tsv`.

import type { Json } from "../logs/format.ts";
import { encodeCell } from "../logs/tsv.ts";
import type { MetricsReport, TaskMetrics } from "./report.ts";

/** Parameters longer than this are cut in the regime table, as the original cuts them. */
const PARAMS_WIDTH = 25;

export interface DocumentOptions {
  /** Round lifetime values to this many decimals; the original has 10. Default: none. */
  readonly decimals?: number;
}

/** A report as the original's metrics document: lifetime values, scenario, ranges, `task_metrics`. NaN becomes null. */
export function metricsDocument(
  report: MetricsReport,
  options: DocumentOptions = {},
): { [key: string]: Json } {
  const { lifetime } = report;
  const round = (value: number): Json =>
    options.decimals === undefined || !Number.isFinite(value)
      ? json(value)
      : Number(value.toFixed(options.decimals));
  return {
    ...Object.fromEntries(Object.entries(report.values).map(([key, value]) => [key, round(value)])),
    run_id: lifetime.runId,
    complexity: lifetime.scenarioInfo.complexity ?? "",
    difficulty: lifetime.scenarioInfo.difficulty ?? "",
    scenario_type: lifetime.scenarioInfo.scenario_type ?? "",
    metrics_column: lifetime.options.perfMeasure,
    min: round(report.min),
    max: round(report.max),
    num_lx: report.numLx,
    num_ex: report.numEx,
    runtime: round(report.runtime),
    normalization_data_range: lifetime.dataRange as unknown as Json,
    task_metrics: Object.fromEntries(report.tasks.map((task) => [task.task, taskDocument(task, report)])),
  };
}

function taskDocument(task: TaskMetrics, report: MetricsReport): { [key: string]: Json } {
  const se = task.sampleEfficiency;
  const recoveries = report.tasks.reduce((n, t) => n + t.recoveryTimes.length, 0);
  // the original lists recovery times only where at least one task could have a trend
  const times = report.lifetime.options.compat && recoveries <= 1 ? [] : task.recoveryTimes;
  const scalars: Record<string, Json> = {};
  for (const key of Object.keys(report.values)) {
    scalars[key] = key in task.transfer ? list(task.transfer[key]!) : json(task.values[key] ?? Number.NaN);
  }
  return {
    ...scalars,
    recovery_times: list(times),
    avg_train_perf_vals: list(task.trainValues),
    avg_eval_perf_vals: list(task.evalValues),
    ...Object.fromEntries(
      Object.entries(task.maintenance).map(([method, m]) => [
        `maintenance_val_${method}`,
        list(m.differences),
      ]),
    ),
    ste_rel_perf_vals: list(task.relativePerformance),
    ste_saturation_vals: list(se?.steSaturation ?? []),
    ste_exp_to_sat_vals: list(se?.steExpToSaturation ?? []),
    se_saturation_vals: list(se?.saturationRatio ?? []),
    se_exp_to_sat_vals: list(se?.expToSaturationRatio ?? []),
    sample_efficiency_vals: list(se?.values ?? []),
    se_task_saturation: json(se?.taskSaturation ?? Number.NaN),
    se_task_exp_to_sat: json(se?.taskExpToSaturation ?? Number.NaN),
    min: json(task.min),
    max: json(task.max),
    num_lx: task.numLx,
    num_ex: task.numEx,
  };
}

/** Regime values as records in the original's key names. */
export function regimeRecords(report: MetricsReport): { [key: string]: Json }[] {
  const parameters = new Set(report.regimes.map(({ regime }) => regime.taskParams));
  const withParams = report.lifetime.options.variantMode === "aware" && parameters.size > 1;
  return report.regimes.map((m) => ({
    block_num: m.regime.blockNum,
    block_type: m.regime.blockType,
    block_subtype: m.regime.blockSubtype,
    task_name: m.regime.task,
    regime_num: m.regime.index,
    ...(withParams ? { task_params: cut(m.regime.taskParams) } : {}),
    saturation: json(m.saturation),
    exp_to_sat: json(m.expToSaturation),
    term_perf: json(m.terminal),
    exp_to_term_perf: json(m.expToTerminal),
    avg_perf: json(m.average),
    ...Object.fromEntries(
      Object.entries(report.custom).map(([key, values]) => [
        key,
        json(values.get(m.regime.index) ?? Number.NaN),
      ]),
    ),
    run_id: report.lifetime.runId,
  }));
}

/** Regimes of one or several reports as a tab-separated table. */
export function regimeTable(reports: readonly MetricsReport[]): string {
  return recordsToTsv(reports.flatMap(regimeRecords));
}

/** One line a lifetime: the original's `ll_metrics.tsv`. */
export function lifetimeTable(reports: readonly MetricsReport[]): string {
  return recordsToTsv(
    reports.map((report) => {
      const { run_id, normalization_data_range: _, task_metrics: __, ...rest } = metricsDocument(report);
      return { run_id: run_id!, ...rest };
    }),
  );
}

/** Records with the union of their keys as columns; null is an empty cell. */
export function recordsToTsv(records: readonly Readonly<Record<string, Json>>[]): string {
  const columns = [...new Set(records.flatMap((record) => Object.keys(record)))];
  const lines = records.map((record) => columns.map((column) => cellOf(record[column] ?? null)).join("\t"));
  return `${[columns.join("\t"), ...lines].join("\n")}\n`;
}

function cellOf(value: Json): string {
  if (value === null) return "";
  return encodeCell(typeof value === "object" ? JSON.stringify(value) : String(value));
}

function cut(params: string): string {
  return params.length > PARAMS_WIDTH ? `${params.slice(0, PARAMS_WIDTH)}...` : params;
}

function json(value: number): Json {
  return Number.isFinite(value) ? value : null;
}

function list(value: unknown): Json {
  if (typeof value === "number") return json(value);
  if (Array.isArray(value)) return value.map(list);
  return Object.fromEntries(Object.entries(value as object).map(([key, item]) => [key, list(item)]));
}
