import { ConfigError } from "@everlong/core";
import { secondsBetween } from "../logs/writer.ts";
import { relativePerformance, type SampleEfficiency, sampleEfficiency } from "./expert-relative.ts";
import { type Lifetime, type LifetimeSource, prepareLifetime } from "./lifetime.ts";
import { type Maintenance, performanceMaintenance } from "./maintenance.ts";
import type { Metric } from "./metric.ts";
import { type MetricsOptions, resolveMetricsOptions } from "./options.ts";
import { performanceRecovery, recoveryTimes } from "./recovery.ts";
import { type RegimeMetrics, regimeMetrics } from "./regime-metrics.ts";
import { METRICS } from "./registry.ts";
import { mean, nanMean, nanMedian, range } from "./statistics.ts";
import type { SteData } from "./ste-store.ts";
import { transfers, transferTable } from "./transfer.ts";

/** Values of one task. NaN where a metric is undefined. */
export interface TaskMetrics {
  readonly task: string;
  /** Scalar metrics by key, and custom ones. */
  readonly values: Readonly<Record<string, number>>;
  /** Transfer to other tasks by key (`forward_transfer_ratio`, ...), then by task, in order of evaluation. */
  readonly transfer: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
  readonly recoveryTimes: readonly number[];
  readonly trainValues: readonly number[];
  readonly evalValues: readonly number[];
  /** By key `mrlep`, `mrtlp`. */
  readonly maintenance: Readonly<Record<string, Maintenance>>;
  readonly relativePerformance: readonly number[];
  readonly sampleEfficiency: SampleEfficiency | null;
  readonly min: number;
  readonly max: number;
  /** Learning and evaluation experiences. */
  readonly numLx: number;
  readonly numEx: number;
}

/** All metrics of one lifetime. */
export interface MetricsReport {
  readonly lifetime: Lifetime;
  /** Lifetime value by metric key, in the order of the registry; NaN where undefined. */
  readonly values: Readonly<Record<string, number>>;
  readonly regimes: readonly RegimeMetrics[];
  /** In order of first training. */
  readonly tasks: readonly TaskMetrics[];
  /** Values of custom metrics by key, then by regime index. */
  readonly custom: Readonly<Record<string, ReadonlyMap<number, number>>>;
  readonly min: number;
  readonly max: number;
  readonly numLx: number;
  readonly numEx: number;
  /** Seconds between the first and the last timestamp. */
  readonly runtime: number;
  readonly warnings: readonly string[];
}

/**
 * Computes the metrics of one lifetime.
 *
 * @param source a log read by `readLog`, or a table of one's own
 * @param ste expert runs by task, from `SteStore.loadAll`; empty: the two expert metrics are NaN
 * @param custom further metrics
 * @throws ConfigError for a wrong option, DataError for data that the options do not fit
 */
export function computeMetrics(
  source: LifetimeSource,
  ste: SteData = new Map(),
  options: MetricsOptions = {},
  custom: readonly Metric[] = [],
): MetricsReport {
  const resolved = resolveMetricsOptions(options);
  const lifetime = prepareLifetime(source, ste, resolved);
  const regimes = regimeMetrics(lifetime);
  const warnings: string[] = [];
  if (!alternates(lifetime)) warnings.push("training and evaluation blocks do not alternate");
  const missing = lifetime.tasks.filter((task) => (lifetime.ste.get(task) ?? []).length === 0);
  if (missing.length > 0) warnings.push(`no expert stored for ${missing.join(", ")}`);

  const maintenance = (["mrlep", "mrtlp"] as const).filter((m) => [m, "both"].includes(resolved.maintenance));
  const forms = (["ratio", "contrast"] as const).filter((t) => [t, "both"].includes(resolved.transfer));
  const transferValues = forms.flatMap((form) =>
    (["forward", "backward"] as const).map((direction) => ({
      key: `${direction}_transfer_${form}`,
      values: transfers(regimes, form, direction, resolved.compat),
    })),
  );
  const transferTables = transferValues.map(({ key, values }) => ({
    key,
    table: transferTable(values, lifetime.tasks),
  }));
  const times = new Map(lifetime.tasks.map((task) => [task, recoveryTimes(lifetime, regimes, task)]));

  const tasks = lifetime.tasks.map((task): TaskMetrics => {
    const own = regimes.filter(({ regime }) => regime.task === task);
    const averages = (type: string): number[] =>
      own.filter((m) => m.regime.blockType === type && !Number.isNaN(m.average)).map((m) => m.average);
    const [trainValues, evalValues] = [averages("train"), averages("test")];
    const maintained = Object.fromEntries(
      maintenance.map((method) => [method, performanceMaintenance(regimes, task, method)]),
    );
    const relative = relativePerformance(lifetime, task);
    const efficiency = sampleEfficiency(lifetime, task);
    const recovery = times.get(task)!;
    const count = (type: string): number =>
      own
        .filter((m) => m.regime.blockType === type)
        .reduce((n, { regime }) => n + regime.end - regime.start, 0);
    return {
      task,
      values: {
        perf_recovery: performanceRecovery(recovery),
        avg_train_perf: mean(trainValues),
        avg_eval_perf: mean(evalValues),
        ...Object.fromEntries(maintenance.map((m) => [`perf_maintenance_${m}`, maintained[m]!.value])),
        ste_rel_perf: nanMean(relative),
        sample_efficiency: nanMean(efficiency?.values ?? []),
      },
      transfer: Object.fromEntries(transferTables.map(({ key, table }) => [key, table[task] ?? {}])),
      recoveryTimes: recovery,
      trainValues,
      evalValues,
      maintenance: maintained,
      relativePerformance: relative,
      sampleEfficiency: efficiency,
      ...range(own.flatMap(({ regime }) => [...lifetime.perf.subarray(regime.start, regime.end)])),
      numLx: count("train"),
      numEx: count("test"),
    };
  });

  const aggregate = resolved.aggregation === "mean" ? nanMean : nanMedian;
  const values: Record<string, number> = {};
  for (const { key } of METRICS) {
    const transfer = transferTables.find((t) => t.key === key);
    // the first value of each pair: later ones belong to the same pair's repetition
    if (transfer !== undefined) {
      values[key] = aggregate(
        Object.values(transfer.table).flatMap((row) => Object.values(row).map((v) => v[0]!)),
      );
    } else if (tasks.some((t) => key in t.values)) {
      values[key] = aggregate(tasks.map((t) => t.values[key]!));
    }
  }
  const extra = customValues(custom, lifetime, regimes, tasks, aggregate);
  const stamps = lifetime.table.timestamp.filter((t) => t !== "").sort();
  return {
    lifetime,
    values: { ...values, ...extra.values },
    regimes,
    tasks: extra.tasks,
    custom: extra.regimes,
    ...range(lifetime.perf),
    numLx: tasks.reduce((n, t) => n + t.numLx, 0),
    numEx: tasks.reduce((n, t) => n + t.numEx, 0),
    runtime: stamps.length > 0 ? secondsBetween(stamps[0]!, stamps.at(-1)!) : Number.NaN,
    warnings,
  };
}

function customValues(
  custom: readonly Metric[],
  lifetime: Lifetime,
  regimes: readonly RegimeMetrics[],
  tasks: readonly TaskMetrics[],
  aggregate: (values: ArrayLike<number>) => number,
): {
  values: Record<string, number>;
  tasks: TaskMetrics[];
  regimes: Record<string, ReadonlyMap<number, number>>;
} {
  const values: Record<string, number> = {};
  const byRegime: Record<string, ReadonlyMap<number, number>> = {};
  let filled = [...tasks];
  for (const metric of custom) {
    if (METRICS.some(({ key }) => key === metric.key)) {
      throw new ConfigError("metrics", `custom metric "${metric.key}" has the key of a built-in one`);
    }
    const result = metric.calculate({ lifetime, regimes });
    if (result.regimes !== undefined) byRegime[metric.key] = result.regimes;
    filled = filled.map((t) => {
      const own = regimes.filter(({ regime }) => regime.task === t.task);
      const fromRegimes = own.flatMap(({ regime }) => result.regimes?.get(regime.index) ?? []);
      return { ...t, values: { ...t.values, [metric.key]: result.tasks?.[t.task] ?? nanMean(fromRegimes) } };
    });
    values[metric.key] = result.lifetime ?? aggregate(filled.map((t) => t.values[metric.key]!));
  }
  return { values, tasks: filled, regimes: byRegime };
}

function alternates(lifetime: Lifetime): boolean {
  const blocks = lifetime.regimes.filter((r, i, all) => i === 0 || r.blockNum !== all[i - 1]!.blockNum);
  return blocks.every((block, i) => i === 0 || block.blockType !== blocks[i - 1]!.blockType);
}
