import "@everlong/device-cpu";
import { EventEmitter } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setDefaultDevice } from "@everlong/core";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { serveRuns, type Channel } from "../train/pool.ts";
import { parseArchitecture } from "./architecture-name.ts";
import { makeCell, type Cell } from "./cell.ts";
import { runCells, shareRuns, type RunCellsOptions } from "./runner.ts";
import { ResultStore } from "./store.ts";
import { makeSetting } from "./suites.ts";

beforeAll(() => setDefaultDevice("cpu"));

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "everlong-runner-"))));
afterEach(() => rmSync(folder, { recursive: true }));

/** A worker's two ends in this thread. */
class Inline extends EventEmitter {
  readonly port: EventEmitter & Channel;
  ended = false;

  constructor() {
    super();
    const postMessage = (m: unknown): void => void (this.ended || this.emit("message", structuredClone(m)));
    this.port = Object.assign(new EventEmitter(), { postMessage });
    serveRuns(this.port);
  }

  postMessage(m: unknown): void {
    this.port.emit("message", structuredClone(m));
  }

  terminate(): Promise<number> {
    if (!this.ended) this.emit("exit", 1);
    this.ended = true;
    return Promise.resolve(1);
  }
}

const setting = makeSetting("memorization", { vocabSize: 64, seqLen: 8 }, { trainCount: 16, testCount: 8 });
const cell = (stack: string, seed: number): Cell =>
  makeCell(parseArchitecture(stack), setting, {
    dim: 8,
    batch: 8,
    epochs: 1,
    learningRates: [0.01],
    weightDecays: [0],
    seed,
  });
const options = (more: Partial<RunCellsOptions> = {}): RunCellsOptions => ({
  store: new ResultStore(folder),
  start: () => new Inline(),
  workers: 2,
  ...more,
});
const cells = [cell("M", 1), cell("M", 2), cell("Sg", 1), cell("M", 1)];

test("trains what is missing once, and the rest from the store", async () => {
  const first = await runCells(cells, options());
  expect([first.trained, first.failures.length, first.missing.length]).toEqual([3, 0, 0]);
  expect(first.results.map((r) => r.key)).toEqual(cells.map((c) => c.key));
  const again = await runCells(cells, options());
  expect(again.trained).toBe(0);
  expect(again.results).toEqual(first.results);
  expect((await runCells(cells.slice(0, 1), options({ again: true }))).trained).toBe(1);
  expect(readdirSync(join(folder, "claims"))).toEqual([]);
});

test("with more workers than cells the runs of a cell are shared out, to the same result", async () => {
  const started: Inline[] = [];
  const start = (): Inline => {
    started.push(new Inline());
    return started.at(-1)!;
  };
  const many = makeCell(parseArchitecture("M"), setting, {
    dim: 8,
    batch: 8,
    epochs: 2,
    learningRates: [0.01, 0.02, 0.03],
    weightDecays: [0, 0.1],
  });
  const done: number[] = [];
  const onPoint: RunCellsOptions["onPoint"] = (_cell, _run, _point, share) => done.push(share);
  const shared = await runCells([many], options({ start, workers: 4, onPoint }));
  expect(started.length).toBe(4);
  expect(started.every((w) => w.ended)).toBe(true);
  expect([Math.min(...done), Math.max(...done)]).toEqual([0, 1]);
  const alone = await runCells([many], options({ workers: 1, again: true }));
  const figures = ({ results }: typeof alone): unknown =>
    results[0]!.runs.map(({ learningRate, weightDecay, steps }) => [learningRate, weightDecay, steps]);
  expect(figures(shared)).toEqual(figures(alone));
  shared.results[0]!.runs.forEach((run, i) =>
    expect(run.test!.epoch.loss).toBeCloseTo(alone.results[0]!.runs[i]!.test!.epoch.loss, 5),
  );
  expect([shareRuns(6, 2), shareRuns(5, 4)]).toEqual([
    [
      [0, 2, 4],
      [1, 3, 5],
    ],
    [[0, 4], [1], [2], [3]],
  ]);
  // Two cells share four workers evenly.
  started.length = 0;
  await runCells([many, { ...cell("M", 1) }], options({ start, workers: 4, again: true }));
  expect(started.length).toBe(3);
});

test("two processes on one folder share the work", async () => {
  const many = Array.from({ length: 6 }, (_, i) => cell("M", 10 + i));
  const both = await Promise.all([runCells(many, options()), runCells(many, options())]);
  expect(both[0].trained + both[1].trained).toBe(6);
  expect(both[0].results.map((r) => r.runs)).toEqual(both[1].results.map((r) => r.runs));
});

test("a cell that fails is reported, and the others are trained", async () => {
  const leaking = makeSetting(
    "in-context-recall",
    { vocabSize: 2, seqLen: 4 },
    { trainCount: 40, testCount: 8 },
  );
  const bad = makeCell(parseArchitecture("M"), leaking, { dim: 8, batch: 8, epochs: 1 });
  const report = await runCells([bad, ...cells], options({ workers: 1 }));
  expect(report.trained).toBe(3);
  expect(report.failures.map((f) => f.message).join()).toMatch(/stand in the training set/);
  expect(report.missing).toEqual([]);
});

test("what others are at is left to them on request, and an aborted run leaves its claims free", async () => {
  const store = new ResultStore(folder);
  const claim = store.claim(cells[0]!.key)!;
  const report = await runCells(cells, options({ wait: false }));
  expect(report.missing.map((c) => c.key)).toEqual([cells[0]!.key, cells[3]!.key]);
  expect(report.trained).toBe(2);
  claim.release();
  const stop = new AbortController();
  const stopped = await runCells(
    [cell("M", 50), cell("M", 51)],
    options({ workers: 1, signal: stop.signal, onPoint: () => stop.abort() }),
  );
  expect([stopped.trained, stopped.missing.length, stopped.failures.length]).toEqual([0, 2, 0]);
  expect(readdirSync(join(folder, "claims"))).toEqual([]);
});

test("a cell that cannot be made fails with the layer's own sentence", async () => {
  const report = await runCells([cell("mA(heads=3)", 1)], options());
  expect(report.failures.map((f) => f.message)).toEqual([
    expect.stringMatching(/^\[MultiHeadAttention\] heads do not divide dim: got dim 8, heads 3\.$/),
  ]);
});

test("settings without rows are refused before anything is trained", () => {
  const empty = makeSetting("memorization", {}, { trainCount: 16, testCount: 0 });
  expect(() => makeCell(parseArchitecture("M"), empty, { batch: 8 })).toThrow(/has no test rows/);
});
