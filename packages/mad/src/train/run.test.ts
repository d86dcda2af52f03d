import "@everlong/device-cpu";
import { setDefaultDevice } from "@everlong/core";
import { beforeAll, expect, test } from "vitest";
import { reportPage } from "../report/page.ts";
import { bytesText, resultTable, sparkline } from "../report/table.ts";
import type { RunRecord } from "../run-record.ts";
import { shuffledBatches } from "./batches.ts";
import { quickConfigs } from "./quick.ts";
import { trainRun, type RunConfig } from "./run.ts";
import { generateSplits } from "../tasks/generate.ts";

beforeAll(() => setDefaultDevice("cpu"));

const tiny = (task: string, layers: readonly string[]): RunConfig => ({
  architecture: { name: layers.join("-"), layers },
  task,
  taskOptions: { vocabSize: 8, seqLen: 16, ...(task === "selective-copying" ? { numTokensToCopy: 3 } : {}) },
  dim: 16,
  trainRows: 64,
  testRows: 20,
  batch: 8,
  steps: 12,
  every: 4,
  learningRate: 5e-3,
  seed: 7,
});

/** What two runs of one configuration share: everything but the clock. */
const timeless = ({ curve, seconds: _s, tokensPerSecond: _t, ...rest }: RunRecord): unknown => ({
  ...rest,
  curve: curve.map(({ seconds: _seconds, ...p }) => p),
});

test.each([
  ["in-context-recall", ["hyena", "swiglu"]],
  ["selective-copying", ["attention", "mlp"]],
  ["compression", ["short-conv"]],
])("%s trains, measures and repeats bit for bit", async (task, layers) => {
  const config = tiny(task, layers);
  const first = await trainRun(config);
  const again = await trainRun(config);
  expect(timeless(again)).toEqual(timeless(first));
  expect(first.curve.map((p) => p.step)).toEqual([0, 4, 8, 12]);
  expect(first.curve.at(-1)!.trainLoss).toBeLessThan(first.curve[1]!.trainLoss);
  expect(first.parameters).toBeGreaterThan(100);
  expect(first.layers).toEqual(layers);
});

test("a run stops once it is accurate enough", async () => {
  const record = await trainRun({ ...tiny("in-context-recall", ["mlp"]), stopAt: 0 });
  expect(record.steps).toBe(4);
});

test("unknown options and impossible settings are refused", async () => {
  const config = tiny("in-context-recall", ["mlp"]);
  await expect(trainRun({ ...config, batchSize: 4 } as never)).rejects.toThrow(/unknown option "batchSize"/);
  await expect(trainRun({ ...config, trainRows: 4 })).rejects.toThrow(/fewer rows than a batch/);
  await expect(trainRun({ ...config, steps: 0 })).rejects.toThrow(/steps must be a positive integer/);
  await expect(trainRun({ ...config, task: "in-context-recal" })).rejects.toThrow(/in-context-recall/);
});

test("an epoch visits every row once, in another order than the next", () => {
  const { train } = generateSplits(
    { task: "memorization", options: { vocabSize: 16, seqLen: 4 } },
    { train: 12, test: 1 },
  );
  const marked = { ...train, inputs: Int32Array.from(train.inputs, (_, i) => Math.floor(i / train.length)) };
  const batches = shuffledBatches(marked, 4, 3);
  const epoch = (): number[] =>
    Array.from({ length: 3 }, () => batches.next().value!).flatMap((b) =>
      [...b.inputs].filter((_, i) => i % train.length === 0),
    );
  const [a, b] = [epoch(), epoch()];
  expect([...a].sort((x, y) => x - y)).toEqual(Array.from({ length: 12 }, (_, i) => i));
  expect([...b].sort((x, y) => x - y)).toEqual([...a].sort((x, y) => x - y));
  expect(a).not.toEqual(b);
});

test("the quick suite keeps its promises on size", () => {
  const configs = quickConfigs(1);
  expect(configs.length).toBe(12);
  for (const c of configs) {
    expect(c.dim).toBeGreaterThanOrEqual(64);
    expect(c.taskOptions!.vocabSize).toBeGreaterThanOrEqual(16);
    expect(c.taskOptions!.seqLen).toBeGreaterThanOrEqual(64);
    if (c.architecture.name.includes("SwiGLU")) expect(c.architecture.layers.length).toBe(4);
  }
});

test("table and page show every run and nothing from elsewhere", async () => {
  const record = await trainRun({ ...tiny("compression", ["mlp"]), steps: 2, every: 1 });
  const evil = { ...record, architecture: `<script>alert("x")</script>` };
  const page = reportPage([record, evil], { title: "t", command: "c", environment: { a: "b" } });
  expect(page).toContain("<svg");
  expect(page).not.toContain("<script>alert");
  expect(page).not.toMatch(/(src|href)="http/);
  const rows = quickConfigs(1).map((c) => ({
    ...record,
    task: c.task,
    architecture: c.architecture.name,
    parameters: 12_345_678,
    tokensPerSecond: 123_456_789,
  }));
  const table = resultTable(rows).split("\n");
  expect(table).toHaveLength(1 + 3 + 12);
  for (const line of table) expect(line.length).toBeLessThanOrEqual(80);
  expect([bytesText(12), bytesText(2048)]).toEqual(["12 B", "2.0 KiB"]);
  expect(sparkline([0, 0.5, 1])).toBe("▁▅█");
});
