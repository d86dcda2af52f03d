// Reference cases of the original l2metrics: builds what a case names and returns tensors and documents.

import {
  parityNumbers,
  type ParityCase,
  type ParityResult,
  type ParityRun,
  type ParityTensor,
} from "@everlong/data";
import type { LogTable } from "./logs/table.ts";
import { metricsDocument, regimeRecords } from "./metrics/documents.ts";
import { metricsOptionsFromSettings } from "./metrics/options.ts";
import { computeMetrics } from "./metrics/report.ts";
import type { SteRun } from "./metrics/ste-store.ts";

export const parity: Readonly<Record<string, ParityRun>> = {
  "l2metrics.report.MetricsReport": metricsReportCase,
};

interface BlockInfo {
  readonly regime_num: number;
  readonly block_subtype: string;
  readonly task_name: string;
}

// Scenario facts and the run time come from files that a case does not store, so they are taken over from it.
function metricsReportCase(c: ParityCase): ParityResult {
  const { args, json, tensors } = c;
  const options = metricsOptionsFromSettings(args);
  const measure = options.perfMeasure ?? "reward";
  const tasks = json["tasks"] as string[];
  const blocks = json["block_info"] as BlockInfo[];
  const subtype = new Map(blocks.map((block) => [block.regime_num, block.block_subtype]));
  const given = json["lifetime_and_task_metrics"] as { readonly [fact: string]: string | undefined };
  const column = (name: string): ArrayLike<number> => parityNumbers(c, name).data;
  const raw = Float64Array.from(column("log.perf_raw"));
  const rows = raw.length;
  const regimeNum = column("log.regime_num");
  const table: LogTable = {
    rows,
    blockNum: Int32Array.from(column("log.block_num")),
    expNum: Int32Array.from(column("log.exp_num")),
    test: Uint8Array.from(column("log.is_train"), (train) => 1 - train),
    sleep: Uint8Array.from({ length: rows }, (_, r) => Number(subtype.get(regimeNum[r]!) === "sleep")),
    complete: new Uint8Array(rows).fill(1),
    task: Int32Array.from(column("log.task")),
    tasks,
    param: new Int32Array(rows),
    params: [""],
    worker: new Int32Array(rows),
    workers: ["worker"],
    timestamp: Array.from({ length: rows }, () => ""),
    numbers: new Map([[measure, raw]]),
    texts: new Map(),
  };
  const info = {
    complexity: given["complexity"] ?? "",
    difficulty: given["difficulty"] ?? "",
    scenario_type: given["scenario_type"] ?? "",
  };
  const source = { runId: given["run_id"] ?? "", scenarioInfo: info, table };
  const report = computeMetrics(source, experts(c, measure), { ...options, compat: true });
  const { lifetime } = report;
  const out = new Map<string, ParityTensor>();
  const add = (name: string, data: Float64Array | null): void => {
    if (data !== null && tensors.has(name)) out.set(name, { shape: [data.length], data });
  };
  add("log.perf_raw", lifetime.raw);
  add("log.perf_smoothed", lifetime.smoothed);
  add("log.perf_filtered", lifetime.clamped);
  add("log.perf_normalized", lifetime.normalized);
  for (const [task, curves] of lifetime.ste) {
    for (const [i, curve] of curves.entries()) add(`ste.${task}.${i}.perf_preprocessed`, curve.perf);
  }
  return {
    tensors: out,
    json: {
      lifetime_and_task_metrics: {
        ...metricsDocument(report, { decimals: 10 }),
        runtime: given["runtime"] ?? null,
      },
      regime_metrics: regimeRecords(report),
    },
  };
}

function experts(c: ParityCase, measure: string): Map<string, SteRun[]> {
  const runs = new Map<string, SteRun[]>();
  for (const name of c.tensors.keys()) {
    const match = /^ste\.(.+)\.(\d+)\.perf_raw$/.exec(name);
    if (match === null) continue;
    const [, task, index] = match as unknown as [string, string, string];
    const values = Float64Array.from(parityNumbers(c, name).data);
    const regime = `ste.${task}.${index}.regime_num`;
    const list = runs.get(task) ?? [];
    runs.set(task, list);
    list[Number(index)] = {
      source: `${task} ${index}`,
      expNum: Int32Array.from(values.keys()),
      regime: c.tensors.has(regime)
        ? Int32Array.from(parityNumbers(c, regime).data)
        : new Int32Array(values.length),
      test: new Uint8Array(values.length),
      columns: new Map([[measure, values]]),
    };
  }
  return runs;
}
