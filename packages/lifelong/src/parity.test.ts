import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readLog } from "./logs/reader.ts";
import { findRegimes } from "./logs/table.ts";
import { parityNumbers, type ParityTensor } from "@everlong/data";
import { parity } from "./parity.ts";

const fixtures = join(import.meta.dirname, "../fixtures/l2metrics");

test("a case of MetricsReport is rebuilt from its tensors alone", () => {
  const { table } = readLog(join(fixtures, "logs/ll_logs/multi_task"));
  const regimes = findRegimes(table);
  const tensors = new Map<string, ParityTensor>();
  const put = (name: string, data: ArrayLike<number>): void =>
    void tensors.set(name, { shape: [data.length], data });
  put("log.exp_num", table.expNum);
  put("log.block_num", table.blockNum);
  put(
    "log.regime_num",
    regimes.flatMap((r) => Array.from({ length: r.end - r.start }, () => r.index)),
  );
  put(
    "log.is_train",
    table.test.map((t) => 1 - t),
  );
  put("log.task", table.task);
  put("log.perf_raw", table.numbers.get("performance")!);
  put("log.perf_normalized", new Float64Array(table.rows));
  for (const [name, run] of [
    ["task1_1.0", "task1_1_run1"],
    ["task2_1.0", "task2_1_run1"],
    ["task3_1.0", "task3_1_run2"],
    ["task3_1.1", "task3_1_run1"],
  ] as const) {
    const expert = readLog(join(fixtures, `logs/ste_logs/ste_${run}`)).table;
    put(`ste.${name}.perf_raw`, expert.numbers.get("performance")!);
    put(`ste.${name}.regime_num`, new Int32Array(expert.rows));
  }
  const want = JSON.parse(readFileSync(join(fixtures, "expected/multi_task_metrics.json"), "utf8")) as Record<
    string,
    unknown
  >;
  const args = JSON.parse(
    readFileSync(join(fixtures, "expected/multi_task_settings.json"), "utf8"),
  ) as Record<string, unknown>;
  const json = {
    tasks: table.tasks,
    block_info: regimes.map((r) => ({
      regime_num: r.index,
      block_subtype: r.blockSubtype,
      task_name: r.task,
    })),
    lifetime_and_task_metrics: want,
  };
  const result = parity["l2metrics.report.MetricsReport"]!({ args, json, tensors });
  const got = (result.json as { lifetime_and_task_metrics: Record<string, unknown> })
    .lifetime_and_task_metrics;
  for (const [key, value] of Object.entries(want)) {
    if (typeof value !== "object") expect([key, got[key]]).toEqual([key, value]);
  }
  expect([...result.tensors.keys()]).toEqual(["log.perf_raw", "log.perf_normalized"]);
  expect(Math.max(...Array.from(parityNumbers(result, "log.perf_normalized").data))).toBeCloseTo(101, 10);
});
