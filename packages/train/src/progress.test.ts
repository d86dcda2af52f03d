import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { duration, Progress, progressLine } from "./progress.ts";
import { readRunLog, RunLog } from "./run-log.ts";

test("a progress line tells the time left", () => {
  expect(duration(3723)).toBe("1:02:03");
  expect(duration(Number.POSITIVE_INFINITY)).toBe("-:--");
  expect(progressLine(25, 100, 10, "loss 1")).toMatch(/^#{6}-{18} {2}25 % {2}0:30 left {2}loss 1$/);
});

test("a terminal line is redrawn, a file gets few lines", () => {
  const written: string[] = [];
  const stream = { isTTY: false, write: (text: string) => written.push(text) };
  const progress = new Progress(10, stream);
  for (let i = 1; i <= 10; i++) progress.update(i);
  progress.done();
  expect(written).toHaveLength(2);
  expect(written.at(-1)).toMatch(/100 %.*\n$/);
});

test("a terminal line is cut where it would wrap", () => {
  const written: string[] = [];
  const stream = { isTTY: true, columns: 60, write: (text: string) => written.push(text) };
  new Progress(10, stream).update(1, "x".repeat(100));
  expect(written).toEqual([`\r\u001B[K${progressLine(1, 10, 0, "x".repeat(100)).slice(0, 59)}`]);
});

test("a run log survives a half-written last line and names a broken one", () => {
  const folder = mkdtempSync(join(tmpdir(), "run-log-"));
  try {
    const path = join(folder, "run.jsonl");
    const log = new RunLog(path);
    log.write({ step: 1, loss: 0.5 });
    log.write({ step: 2 });
    writeFileSync(path, '{"step":3', { flag: "a" });
    expect(readRunLog(path)).toEqual([{ step: 1, loss: 0.5 }, { step: 2 }]);
    writeFileSync(path, '{"a":1}\n{broken\n{"b":2}\n');
    expect(() => readRunLog(path)).toThrow(/line 2 is not JSON/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
