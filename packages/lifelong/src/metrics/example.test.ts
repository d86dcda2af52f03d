import { readFileSync } from "node:fs";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readLog } from "../logs/reader.ts";
import { parseTsv } from "../logs/tsv.ts";
import { metricsDocument, regimeRecords } from "./documents.ts";
import { metricsOptionsFromSettings } from "./options.ts";
import { computeMetrics } from "./report.ts";
import { SteStore } from "./ste-store.ts";

const fixtures = join(import.meta.dirname, "../../fixtures/l2metrics");
const expected = (name: string): string => readFileSync(join(fixtures, "expected", name), "utf8");

function example(): { store: SteStore; log: ReturnType<typeof readLog> } {
  const store = new SteStore(mkdtempSync(join(tmpdir(), "ste-")));
  store.add(readLog(join(fixtures, "logs/ste_logs/ste_task1_1_run1")));
  store.add(readLog(join(fixtures, "logs/ste_logs/ste_task2_1_run1")));
  store.add(readLog(join(fixtures, "logs/ste_logs/ste_task3_1_run1")));
  store.add(readLog(join(fixtures, "logs/ste_logs/ste_task3_1_run2")), "a");
  return { store, log: readLog(join(fixtures, "logs/ll_logs/multi_task")) };
}

/** Largest relative error over every number of `want`; throws at any other difference. */
function worst(got: unknown, want: unknown, path = ""): number {
  if (typeof want === "number") {
    if (typeof got !== "number") throw new Error(`${path}: ${String(got)} is not ${want}`);
    return Math.abs(got - want) / Math.max(Math.abs(want), 1e-12);
  }
  if (typeof want !== "object" || want === null) {
    if (got !== want) throw new Error(`${path}: ${String(got)} is not ${String(want)}`);
    return 0;
  }
  const keys = [...new Set([...Object.keys(want), ...Object.keys(got as object)])];
  return Math.max(
    0,
    ...keys.map((key) =>
      worst((got as Record<string, unknown>)[key], (want as Record<string, unknown>)[key], `${path}.${key}`),
    ),
  );
}

describe("the example lifetime of l2metrics", () => {
  const options = metricsOptionsFromSettings(JSON.parse(expected("multi_task_settings.json")));

  test("gives the original's document in every digit it prints", () => {
    const { store, log } = example();
    const report = computeMetrics(log, store.loadAll(log.table.tasks), options);
    const want = JSON.parse(expected("multi_task_metrics.json")) as Record<string, unknown>;
    const got = metricsDocument(report, { decimals: 10 }) as Record<string, unknown>;
    for (const [key, value] of Object.entries(want)) {
      if (typeof value === "number") expect([key, got[key]]).toEqual([key, value]);
    }
    expect(worst(got, want)).toBeLessThan(1e-12);
  });

  test("gives the original's regime table", () => {
    const { store, log } = example();
    const records = regimeRecords(computeMetrics(log, store.loadAll(log.table.tasks), options));
    const want = parseTsv(expected("multi_task_regime.tsv"));
    expect(Object.keys(records[0]!)).toEqual(want.header);
    for (const [c, column] of want.header.entries()) {
      for (const [r, cell] of want.columns[c]!.entries()) {
        const value = records[r]![column];
        if (typeof value === "number") expect(Math.abs(value - Number(cell)) / 100).toBeLessThan(1e-14);
        else expect(value).toBe(cell);
      }
    }
  });

  test("without experts the two expert metrics are undefined and a warning names the tasks", () => {
    const { log } = example();
    const report = computeMetrics(log, new Map(), options);
    expect(report.values["ste_rel_perf"]).toBeNaN();
    expect(report.values["sample_efficiency"]).toBeNaN();
    expect(report.values["perf_recovery"]).toBe(-2);
    expect(report.warnings.join()).toMatch(/no expert stored for task1_1, task2_1, task3_1/);
  });

  test("in agnostic mode variants of one label share a store", () => {
    const { store, log } = example();
    expect(store.load("task3")).toHaveLength(2);
    const report = computeMetrics(log, store.loadAll(["task1", "task2", "task3"]), {
      ...options,
      variantMode: "agnostic",
    });
    expect(report.tasks.map((t) => t.task)).toEqual(["task1", "task2", "task3"]);
    expect(report.values["sample_efficiency"]).toBeCloseTo(0.9132609794, 9);
  });
});
