import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataError } from "@everlong/core";
import { describe, expect, test } from "vitest";
import { readLog } from "./reader.ts";
import { formatTimestamp, LogWriter, secondsBetween } from "./writer.ts";

const base = mkdtempSync(join(tmpdir(), "writer-"));
let folders = 0;

function writer(columns: unknown): LogWriter {
  return new LogWriter({
    baseDir: base,
    scenario: "test",
    loggerInfo: { metrics_columns: columns as string[] },
    scenarioInfo: { complexity: "1-low", difficulty: "1-easy", scenario_type: "custom" },
    folderSuffix: String(folders++),
    now: () => 1_603_230_845_363.982,
  });
}

const standard = {
  block_num: 4,
  exp_num: 4,
  worker_id: "worker0",
  block_type: "train",
  task_name: "taskA",
  task_params: { param1: 1 },
  exp_status: "complete",
};
const valid = { ...standard, reward1: 123, reward2: 456 };
const { exp_status: _, ...withoutStatus } = valid;

describe("records the format refuses", () => {
  const cases: [string, unknown[], RegExp][] = [
    ["no metric columns", [standard], /lacks "reward2", "reward1"/],
    ["only metric columns", [{ reward1: 123, reward2: 456 }], /lacks "block_num"/],
    ["an empty record", [{}], /lacks "block_num"/],
    ["not a record", [["not even a dict"]], /not an object.*got an array/],
    ["a timestamp of its own", [{ ...valid, timestamp: 2 }], /timestamp is written by the logger/],
    ["a column more than before", [valid, { ...valid, extra: 2 }], /got also extra/],
    ["a column less than before", [{ ...valid, extra: 2 }, valid], /got no extra/],
    [
      "a block number of text",
      [{ ...valid, block_num: "temp" }],
      /block_num is not a non-negative integer: got "temp"/,
    ],
    ["a negative block number", [{ ...valid, block_num: -1 }], /block_num is not.*got -1/],
    [
      "a falling block number",
      [valid, { ...valid, block_num: 2 }],
      /block_num decreases: expected at least 4, got 2/,
    ],
    ["an experience number of text", [{ ...valid, exp_num: "temp" }], /exp_num is not a non-negative/],
    ["a negative experience number", [{ ...valid, exp_num: -1 }], /exp_num is not.*got -1/],
    [
      "a falling experience number",
      [valid, { ...valid, exp_num: 3 }],
      /exp_num decreases: expected at least 4, got 3/,
    ],
    ["an unknown block type", [{ ...valid, block_type: "temp" }], /block_type.*train or test, got "temp"/],
    [
      "an unknown status",
      [{ ...valid, exp_status: "Done" }],
      /exp_status.*complete or incomplete, got "Done"/,
    ],
    ["a worker that is no folder name", [{ ...valid, worker_id: "a+b" }], /worker_id.*got "a\+b"/],
    ["parameters that are no object", [{ ...valid, task_params: true }], /task_params is not an object/],
    [
      "parameters that are no JSON",
      [{ ...valid, task_params: { temp: join } }],
      /task_params\.temp is not JSON/,
    ],
    ["a fractional block number", [{ ...valid, block_num: 1.5 }], /block_num is not.*got 1\.5/],
    ["an unknown block subtype", [{ ...valid, block_subtype: "nap" }], /wake or sleep, got "nap"/],
  ];
  for (const [name, records, message] of cases) {
    test(name, () => {
      const log = writer(["reward2", "reward1", "reward1"]);
      for (const record of records.slice(0, -1)) log.write(record);
      expect(() => log.write(records.at(-1))).toThrow(DataError);
      expect(() => log.write(records.at(-1))).toThrow(message);
      log.close();
    });
  }

  test.each([[{}], [["test", 1]], [[]], [undefined]])("metric columns %j", (columns) => {
    expect(() => writer(columns)).toThrow(/metrics_columns is not usable/);
  });
});

describe("records the format takes", () => {
  test.each([
    [[valid]],
    [[valid, valid]],
    [[valid, { ...valid, exp_num: 20 }]],
    [[valid, { ...valid, block_num: 10 }]],
    [[{ ...valid, exp_status: "incomplete" }]],
    [[{ ...valid, block_type: "test" }]],
    [[withoutStatus]],
  ])("%#", (records) => {
    const log = writer(["reward1"]);
    for (const record of records) log.write(record);
    log.close();
    expect(readLog(log.dir).table.rows).toBe(records.length);
  });
});

test("the file has the original's layout byte for byte", () => {
  const log = writer(["reward"]);
  const record = { ...standard, reward: 13, note: 'a "b"\tc', task_params: { ä: [1, 2.5, null], b: true } };
  log.write(record);
  log.write({ ...record, exp_num: 5, task_params: {} });
  log.close();
  const file = readFileSync(join(log.dir, "worker0/4-train/data-log.tsv"), "utf8");
  const stamp = formatTimestamp(1_603_230_845_363.982);
  expect(stamp).toMatch(/^20201020T\d\d\d\d05\.363982$/);
  expect(file).toBe(
    "block_num\texp_num\tworker_id\tblock_type\tblock_subtype\ttask_name\ttask_params\texp_status\ttimestamp\tnote\treward\n" +
      `4\t4\tworker0\ttrain\twake\ttaskA\t"{""\\u00e4"": [1, 2.5, null], ""b"": true}"\tcomplete\t${stamp}\t"a ""b""\tc"\t13\n` +
      `4\t5\tworker0\ttrain\twake\ttaskA\t{}\tcomplete\t${stamp}\t"a ""b""\tc"\t13\n`,
  );
  expect(readFileSync(join(log.dir, "logger_info.json"), "utf8")).toBe(
    '{\n  "metrics_columns": [\n    "reward"\n  ],\n  "log_format_version": "1.1"\n}',
  );
});

test("writing into an existing folder appends, and refuses other columns", () => {
  const at = (columns: string[]): LogWriter =>
    new LogWriter({
      baseDir: base,
      scenario: "again",
      folderSuffix: "x",
      loggerInfo: { metrics_columns: columns },
    });
  for (const exp of [1, 2]) {
    const log = at(["reward"]);
    log.write({ ...standard, exp_num: exp, reward: exp });
    log.close();
  }
  expect([...readLog(join(base, "again-x")).table.numbers.get("reward")!]).toEqual([1, 2]);
  expect(() => at(["score"]).write({ ...standard, score: 1 })).toThrow(/has other columns than this log/);
});

test("time between timestamps ignores time zones", () => {
  expect(secondsBetween("20210415T145944.077807", "20210416T000000.000001")).toBeCloseTo(32_415.922194, 9);
});
