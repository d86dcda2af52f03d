import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { computeMetrics } from "../metrics/report.ts";
import { aggregateLog } from "./aggregate.ts";
import { findLogDirs, readLog } from "./reader.ts";
import { parseTsv } from "./tsv.ts";

const example = join(import.meta.dirname, "../../fixtures/l2metrics/logs/ll_logs/multi_task");
const scratch = mkdtempSync(join(tmpdir(), "reader-"));
let copies = 0;
afterAll(() => rmSync(scratch, { recursive: true }));

/** A copy of the example in which one block file is changed. */
function damaged(block: string, change: (text: string) => string): string {
  const dir = join(scratch, `copy${copies++}`);
  cpSync(example, dir, { recursive: true });
  const file = join(dir, "0", block, "data-log.tsv");
  writeFileSync(file, change(readFileSync(file, "utf8")));
  return dir;
}

const column = (text: string, name: string, change: (cell: string, row: number) => string): string => {
  const lines = text
    .trimEnd()
    .split("\n")
    .map((line) => line.split("\t"));
  const c = lines[0]!.indexOf(name);
  return `${lines.map((cells, r) => (r === 0 ? cells : cells.with(c, change(cells[c]!, r))).join("\t")).join("\n")}\n`;
};

test("a log reads into columns", () => {
  const { table, scenarioInfo, runId, warnings } = readLog(example);
  expect(table.rows).toBe(1920);
  expect(table.tasks).toEqual(["task1_1", "task2_1", "task3_1"]);
  expect([...table.expNum.subarray(58, 62)]).toEqual([58, 59, 60, 61]);
  expect(table.numbers.get("performance")![61]).toBe(2.160911222907554);
  expect(JSON.parse(table.params[table.param[0]!]!)).toMatchObject({ name: "task1_1", min_perf: 2.5 });
  expect(scenarioInfo.complexity).toBe("2-intermediate");
  expect(runId).toBe("multi_task");
  expect(warnings).toEqual([]);
});

test("log folders are found below a folder", () => {
  expect(findLogDirs(join(example, "../..")).map((dir) => dir.split("/").at(-1))).toEqual([
    "multi_task",
    "ste_task1_1_run1",
    "ste_task2_1_run1",
    "ste_task3_1_run1",
    "ste_task3_1_run2",
  ]);
});

describe("malformed logs", () => {
  const refused: [string, string, (text: string) => string, RegExp][] = [
    [
      "a missing standard column",
      "3-train",
      (t) => t.replace("exp_status", "status"),
      /3-train\/data-log\.tsv lacks column "exp_status"/,
    ],
    [
      "a missing metric column",
      "3-train",
      (t) => t.replace("\tperformance", "\tscore"),
      /lacks column "performance"/,
    ],
    [
      "a block number of text",
      "3-train",
      (t) => column(t, "block_num", (v, r) => (r === 7 ? "x" : v)),
      /:8 block_num is wrong.*"x"/,
    ],
    [
      "a negative experience",
      "3-train",
      (t) => column(t, "exp_num", (v, r) => (r === 2 ? "-4" : v)),
      /:3 exp_num is wrong/,
    ],
    [
      "an unknown block type",
      "2-test",
      (t) => column(t, "block_type", () => "exam"),
      /train or test, got "exam"/,
    ],
    [
      "an unknown status",
      "2-test",
      (t) => column(t, "exp_status", () => "done"),
      /complete or incomplete, got "done"/,
    ],
    ["a bad worker", "2-test", (t) => column(t, "worker_id", () => "a b"), /worker_id is wrong/],
    [
      "broken parameters",
      "2-test",
      (t) => column(t, "task_params", () => "{oops"),
      /task_params is wrong: expected JSON/,
    ],
    [
      "a half-written last line",
      "23-train",
      (t) => t.slice(0, -150),
      /23-train\/data-log\.tsv:101 was cut while being written.*Repair "partial-line"/,
    ],
    [
      "a last line without its end",
      "23-train",
      (t) => t.slice(0, -1),
      /:101 has no line end and may be cut.*"partial-line"/,
    ],
    [
      "a line with a cell too many",
      "5-train",
      (t) => t.replace("\n5\t", "\n5\t5\t"),
      /5-train\/data-log\.tsv:2 is ragged: expected 9 cells, got 10.*"ragged-lines"/,
    ],
    [
      "blocks out of order",
      "5-train",
      (t) => column(t, "exp_num", (v) => String(Number(v) + 600)),
      /block 12 at experience \d+, then block 5.*"reordered-blocks"/,
    ],
    [
      "a repeated column",
      "5-train",
      (t) => t.replace("\tperformance", "\tperformance\tperformance"),
      /is ragged|repeats column/,
    ],
    [
      "no number in the measure",
      "5-train",
      (t) => column(t, "performance", () => "high"),
      /no numeric column "performance".*got a column of text/,
    ],
  ];
  for (const [name, block, change, message] of refused) {
    test(name, () => {
      const dir = damaged(block, change);
      expect(() => computeMetrics(readLog(dir), new Map(), { perfMeasure: "performance" })).toThrow(message);
    });
  }

  test("repairs are named and reported", () => {
    const cut = readLog(
      damaged("23-train", (t) => t.slice(0, -150)),
      { repair: ["partial-line"] },
    );
    expect(cut.table.rows).toBe(1919);
    expect(cut.warnings).toEqual(["0/23-train/data-log.tsv:101 dropped (partial-line)"]);

    const whole = readLog(
      damaged("23-train", (t) => t.slice(0, -1)),
      { repair: ["partial-line"] },
    );
    expect(whole.table.rows).toBe(1919);

    const ragged = readLog(
      damaged("5-train", (t) => t.replace("\n5\t", "\n5\t5\t")),
      { repair: ["ragged-lines"] },
    );
    expect(ragged.table.rows).toBe(1919);

    const dir = damaged("5-train", (t) => column(t, "exp_num", (v) => String(Number(v) + 600)));
    const ordered = readLog(dir, { repair: ["reordered-blocks"] });
    expect([...ordered.table.blockNum]).toEqual([...readLog(example).table.blockNum]);
    expect(ordered.table.expNum[1919]).toBe(1919);
    const values = (log: typeof ordered): number[] =>
      Object.values(computeMetrics(log, new Map(), { perfMeasure: "performance" }).values);
    expect(values(ordered)).toEqual(values(readLog(example)));
  });

  test("rows without a performance are left out, as the original does", () => {
    const holes = readLog(
      damaged("5-train", (t) =>
        column(t, "performance", (v, r) => (r % 3 === 0 ? "" : r % 3 === 1 ? "nan" : v)),
      ),
    );
    const report = computeMetrics(holes, new Map(), { perfMeasure: "performance" });
    expect(report.numLx).toBe(1200 - 67);
    expect(report.values["avg_train_perf"]).not.toBeNaN();
  });

  test("a folder without a log is refused with what it lacks", () => {
    const dir = join(scratch, "empty");
    mkdirSync(dir);
    expect(() => readLog(dir)).toThrow(/no logger_info\.json in \/.*Is this a log folder/);
    writeFileSync(join(dir, "logger_info.json"), '{"metrics_columns": ["reward"]}');
    expect(() => readLog(dir)).toThrow(/no scenario_info\.json/);
    writeFileSync(join(dir, "scenario_info.json"), "{}");
    expect(() => readLog(dir)).toThrow(/no data-log\.tsv/);
    writeFileSync(join(dir, "logger_info.json"), '{"metrics_columns": ');
    expect(() => readLog(dir)).toThrow(/is not JSON/);
    expect(() => readLog(join(dir, "nowhere/else"))).toThrow(/no log folder/);
  });
});

test("aggregation gives every complete experience with its regime", () => {
  const log = readLog(example);
  const table = parseTsv(aggregateLog(log));
  expect(table.length).toBe(1920);
  expect(table.header.slice(0, 3)).toEqual(["block_num", "regime_num", "exp_num"]);
  expect(table.columns[1]!.at(-1)).toBe("47");
  const json = JSON.parse(aggregateLog(log, "json")) as Record<string, unknown[]>;
  expect(json["performance"]).toEqual([...log.table.numbers.get("performance")!]);
  expect(aggregateLog(log, "csv").split("\n")[1]).toContain('"{""name"": ""task1_1""');
});

test("quoted cells keep tabs, quotes and line breaks, and lines are counted through them", () => {
  const table = parseTsv('a\tb\n"x\ty"\t"say ""hi""\n"\r\n1\t2\t3\n4\t5');
  expect(table.columns).toEqual([
    ["x\ty", "4"],
    ['say "hi"\n', "5"],
  ]);
  expect(table.lines).toEqual([2, 5]);
  expect(table.ragged).toEqual([{ line: 4, cells: 3 }]);
  expect(table.complete).toBe(false);
});
