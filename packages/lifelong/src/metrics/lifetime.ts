// From a log to performance curves: filter, merge variants, find regimes, smooth, clamp, normalise.

import { DataError } from "@everlong/core";
import type { ScenarioInfo } from "../logs/format.ts";
import {
  filterRows,
  findRegimes,
  type LogTable,
  mergeVariants,
  type Regime,
  tasksByTraining,
} from "../logs/table.ts";
import { gaussianNoise } from "./noise.ts";
import type { DataRange, ResolvedMetricsOptions } from "./options.ts";
import { smooth } from "./smooth.ts";
import type { SteData, SteRun } from "./ste-store.ts";
import { quantile, range } from "./statistics.ts";

const OP = "metrics";

/** Scale and offset of normalised performance: 1 to 101, so that ratios do not divide by zero. */
const SCALE = 100;
const OFFSET = 1;

/** An expert's curve, processed like the lifetime's. */
export interface SteCurve {
  readonly source: string;
  readonly expNum: Int32Array;
  readonly regime: Int32Array;
  readonly test: Uint8Array;
  readonly perf: Float64Array;
}

/** What metrics are computed on. Curves are `[rows]`, in order of experience. */
export interface Lifetime {
  readonly runId: string;
  readonly scenarioInfo: ScenarioInfo;
  readonly options: ResolvedMetricsOptions;
  /** Complete experiences with a performance. */
  readonly table: LogTable;
  readonly regimes: readonly Regime[];
  /** In order of first training. */
  readonly tasks: readonly string[];
  /** After every step; what metrics read. */
  readonly perf: Float64Array;
  readonly raw: Float64Array;
  readonly smoothed: Float64Array | null;
  readonly clamped: Float64Array | null;
  readonly normalized: Float64Array | null;
  /** Horizontal position of each row: experience number, or steps so far. */
  readonly position: Float64Array;
  readonly ste: ReadonlyMap<string, readonly SteCurve[]>;
  /** Range used to normalise; null if nothing was normalised. */
  readonly dataRange: Readonly<Record<string, DataRange>> | null;
}

/** A log as the pipeline takes it; {@link LifetimeLog} is one. */
export interface LifetimeSource {
  readonly runId: string;
  readonly scenarioInfo: ScenarioInfo;
  readonly table: LogTable;
}

/**
 * Prepares a lifetime: keeps complete experiences with a performance, then smooths each regime, clamps and
 * normalises each task, in this order (l2metrics, docs/data_preprocessing.md).
 *
 * @throws DataError if the performance column is absent or empty, ConfigError for a range that misses a task
 */
export function prepareLifetime(
  source: LifetimeSource,
  ste: SteData,
  options: ResolvedMetricsOptions,
): Lifetime {
  const measure = source.table.numbers.get(options.perfMeasure);
  if (measure === undefined) {
    const text = source.table.texts.has(options.perfMeasure);
    throw new DataError(OP, `${source.runId} has no numeric column "${options.perfMeasure}"`, {
      expected: [...source.table.numbers.keys()].join(", ") || "a numeric column",
      ...(text ? { got: "a column of text" } : {}),
      hint: "Name the performance column with perfMeasure (--perf-measure).",
    });
  }
  let table = filterRows(source.table, (r) => source.table.complete[r] === 1 && !Number.isNaN(measure[r]!));
  if (table.rows === 0) {
    throw new DataError(OP, `${source.runId} has no complete experience with a "${options.perfMeasure}"`);
  }
  if (options.variantMode === "agnostic") table = mergeVariants(table);
  const regimes = findRegimes(table);
  const tasks = tasksByTraining(regimes);
  const raw = table.numbers.get(options.perfMeasure)!;
  const experts = new Map(
    tasks.map((task) => [
      task,
      (ste.get(task) ?? []).map((run) => expertCurve(task, run, options.perfMeasure)),
    ]),
  );
  const given = options.dataRange === null ? null : rangesFor(options.dataRange, options.variantMode);

  let perf: Float64Array = raw.slice();
  const smoothed = options.smoothing === "none" ? null : smoothRegimes(perf, regimes, options);
  perf = smoothed?.slice() ?? perf;
  let curves: ReadonlyMap<string, readonly SteCurve[]> =
    smoothed === null ? experts : mapCurves(experts, (curve) => smoothCurve(curve, options));

  const bounds = options.clampOutliers ? clampBounds(table, tasks, perf, curves, given) : null;
  if (bounds !== null) {
    forEachTask(table, perf, (value, task) => clamp(value, bounds[task]!));
    curves = mapCurves(curves, (curve, task) => curve.perf.map((value) => clamp(value, bounds[task]!)));
  }
  const clamped = bounds === null ? null : perf.slice();

  let dataRange: Readonly<Record<string, DataRange>> | null = null;
  if (options.normalization !== "none") {
    dataRange = given ?? observedRanges(table, tasks, perf, curves);
    const scale = scaler(dataRange, tasks, options.normalization);
    forEachTask(table, perf, scale);
    curves = mapCurves(curves, (curve, task) => curve.perf.map((value) => scale(value, task)));
  }
  const normalized = dataRange === null ? null : perf.slice();
  const [noiseMean, noiseDeviation] = options.noise;
  if (noiseMean !== 0 || noiseDeviation !== 0) {
    const noise = gaussianNoise(perf.length, noiseMean, noiseDeviation, options.noiseSeed);
    perf = perf.map((value, i) => value + noise[i]!);
  }
  return {
    runId: source.runId,
    scenarioInfo: source.scenarioInfo,
    options,
    table,
    regimes,
    tasks,
    perf,
    raw,
    smoothed,
    clamped,
    normalized,
    position: positions(table, options.unit),
    ste: curves,
    dataRange,
  };
}

function expertCurve(task: string, run: SteRun, measure: string): SteCurve {
  const values = run.columns.get(measure);
  if (values === undefined) {
    throw new DataError(OP, `the expert of ${task} (${run.source}) has no column "${measure}"`, {
      expected: [...run.columns.keys()].join(", "),
    });
  }
  const rows = Int32Array.from(values.keys()).filter((r) => !Number.isNaN(values[r]!));
  return {
    source: run.source,
    expNum: rows.map((r) => run.expNum[r]!),
    regime: rows.map((r) => run.regime[r]!),
    test: Uint8Array.from(rows, (r) => run.test[r]!),
    perf: Float64Array.from(rows, (r) => values[r]!),
  };
}

function smoothRegimes(
  perf: Float64Array,
  regimes: readonly Regime[],
  options: ResolvedMetricsOptions,
): Float64Array {
  const out = perf.slice();
  for (const { blockType, start, end } of regimes) {
    if (blockType !== "train" && !options.smoothEval) continue;
    if (options.smoothing !== "none") {
      out.set(smooth(perf.subarray(start, end), options.windowLength, options.smoothing), start);
    }
  }
  return out;
}

function smoothCurve(curve: SteCurve, options: ResolvedMetricsOptions): Float64Array {
  const out = curve.perf.slice();
  for (let start = 0; start < out.length;) {
    let end = start + 1;
    while (end < out.length && curve.regime[end] === curve.regime[start]) end++;
    if (options.smoothing !== "none") {
      out.set(smooth(curve.perf.subarray(start, end), options.windowLength, options.smoothing), start);
    }
    start = end;
  }
  return out;
}

function mapCurves(
  curves: ReadonlyMap<string, readonly SteCurve[]>,
  perf: (curve: SteCurve, task: string) => Float64Array,
): Map<string, SteCurve[]> {
  return new Map(
    [...curves].map(([task, runs]) => [task, runs.map((curve) => ({ ...curve, perf: perf(curve, task) }))]),
  );
}

function forEachTask(
  table: LogTable,
  perf: Float64Array,
  change: (value: number, task: string) => number,
): void {
  for (let r = 0; r < perf.length; r++) perf[r] = change(perf[r]!, table.tasks[table.task[r]!]!);
}

/** The lifetime's values of a task, then those of its experts' training. */
function taskValues(
  table: LogTable,
  task: string,
  perf: Float64Array,
  curves: ReadonlyMap<string, readonly SteCurve[]>,
): Float64Array {
  const index = table.tasks.indexOf(task);
  const own = perf.filter((_, r) => table.task[r] === index);
  const experts = (curves.get(task) ?? []).map((curve) => curve.perf.filter((_, r) => curve.test[r] === 0));
  return Float64Array.from([own, ...experts].flatMap((values) => [...values]));
}

function clampBounds(
  table: LogTable,
  tasks: readonly string[],
  perf: Float64Array,
  curves: ReadonlyMap<string, readonly SteCurve[]>,
  given: Readonly<Record<string, DataRange>> | null,
): Record<string, DataRange> {
  if (given !== null) checkRanges(given, tasks);
  return Object.fromEntries(
    tasks.map((task) => {
      if (given !== null) return [task, given[task]!];
      const values = taskValues(table, task, perf, curves);
      return [task, { min: quantile(values, 0.1), max: quantile(values, 0.9) }];
    }),
  );
}

function observedRanges(
  table: LogTable,
  tasks: readonly string[],
  perf: Float64Array,
  curves: ReadonlyMap<string, readonly SteCurve[]>,
): Record<string, DataRange> {
  return Object.fromEntries(tasks.map((task) => [task, range(taskValues(table, task, perf, curves))]));
}

function scaler(
  ranges: Readonly<Record<string, DataRange>>,
  tasks: readonly string[],
  method: "task" | "run",
): (value: number, task: string) => number {
  checkRanges(ranges, tasks);
  const all = Object.values(ranges);
  const run = { min: Math.min(...all.map((r) => r.min)), max: Math.max(...all.map((r) => r.max)) };
  return (value, task) => {
    const { min, max } = method === "run" ? run : ranges[task]!;
    // a constant task has nothing to scale: it sits at the offset
    return min === max ? OFFSET : ((value - min) / (max - min)) * SCALE + OFFSET;
  };
}

function checkRanges(ranges: Readonly<Record<string, DataRange>>, tasks: readonly string[]): void {
  const missing = tasks.filter((task) => ranges[task] === undefined);
  if (missing.length > 0) {
    throw new DataError(OP, `the data range has no entry for ${missing.join(", ")}`, {
      expected: tasks.join(", "),
      got: Object.keys(ranges).join(", "),
    });
  }
}

/** Ranges by lower-case task; in agnostic mode the hull over the variants of each label. */
function rangesFor(
  given: Readonly<Record<string, DataRange>>,
  mode: "aware" | "agnostic",
): Record<string, DataRange> {
  const out: Record<string, DataRange> = {};
  for (const [name, { min, max }] of Object.entries(given)) {
    const task = mode === "agnostic" ? name.toLowerCase().split("_")[0]! : name.toLowerCase();
    const old = out[task];
    out[task] =
      old === undefined ? { min, max } : { min: Math.min(old.min, min), max: Math.max(old.max, max) };
  }
  return out;
}

function clamp(value: number, { min, max }: DataRange): number {
  return Math.min(Math.max(value, min), max);
}

function positions(table: LogTable, unit: "exp_num" | "steps"): Float64Array {
  if (unit === "exp_num") return Float64Array.from(table.expNum);
  const steps = table.numbers.get("episode_step_count");
  if (steps === undefined) {
    throw new DataError(OP, "the log has no step counts", {
      expected: 'a column "episode_step_count" for unit "steps"',
    });
  }
  let total = 0;
  return steps.map((count) => (total += count));
}
