// The benchmark's promise: killed at any moment and started again, it ends with what an undisturbed run ends with.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ResultStore, type CellResult } from "@everlong/mad";
import { afterEach, beforeEach, expect, test } from "vitest";

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "everlong-sweep-"))));
afterEach(() => rmSync(folder, { recursive: true }));

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
const line = (store: string, ...more: string[]): string[] => [
  "--conditions=everlong-source",
  MAIN,
  "mad",
  "sweep",
  "--architectures",
  "mA(heads=4)-Sg",
  "Mb-M",
  "--suite",
  "reduced",
  "--settings",
  "C*",
  "M*",
  "CR*",
  "--epochs",
  "1",
  "--learning-rates",
  "1e-3",
  "5e-3",
  "--store",
  store,
  "--workers",
  "2",
  "--checkpoint-every",
  "0",
  ...more,
];
const start = (store: string, ...more: string[]): ChildProcess =>
  spawn(process.execPath, line(store, ...more), { stdio: "ignore" });
const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.on("exit", resolve));

const figures = (results: readonly CellResult[]): unknown =>
  results.map(({ key, runs }) => ({ key, runs })).toSorted((a, b) => (a.key < b.key ? -1 : 1));
test.each(["off", "on"])(
  "together %s: kill -9 again and again, then two slices at once",
  async (together) => {
    const [calm, rough] = [join(folder, "calm"), join(folder, "rough")];
    const partial = join(rough, "partial");
    const files = (): string[] =>
      existsSync(partial) ? readdirSync(partial, { recursive: true }).map(String) : [];
    const checkpoints = (): string[] => files().filter((f) => f.endsWith(".safetensors"));
    expect(await ended(start(calm, "--together", together))).toBe(0);
    let resumed = 0;
    for (let kills = 0; kills < 5; kills++) {
      const before = new Map(checkpoints().map((f) => [f, statSync(join(partial, f)).mtimeMs]));
      const child = start(rough, "--together", together);
      const end = ended(child);
      const isNew = (f: string): boolean =>
        existsSync(join(partial, f)) && statSync(join(partial, f)).mtimeMs !== before.get(f);
      while (child.exitCode === null && !checkpoints().some(isNew)) await sleep(5);
      // Some moment of the steps and checkpoints that follow.
      await sleep(400 * Math.random());
      child.kill("SIGKILL");
      await end;
      if (checkpoints().some((f) => before.has(f))) resumed++;
    }
    expect(resumed).toBeGreaterThan(0);
    const slices = ["1/2", "2/2"].map((slice) => start(rough, "--together", together, "--slice", slice));
    expect(await Promise.all(slices.map(ended))).toEqual([0, 0]);
    const results = new ResultStore(rough).all();
    expect(results.length).toBe(6);
    expect(results.map((r) => r.together)).toEqual(results.map(() => together === "on"));
    expect(figures(results)).toEqual(figures(new ResultStore(calm).all()));
    expect([readdirSync(join(rough, "claims")), files()]).toEqual([[], []]);
    // A further start trains nothing.
    const again = spawnSync(process.execPath, line(rough, "--json"), { encoding: "utf8" });
    const report = JSON.parse(again.stdout) as { trained: number; scores: unknown[] };
    expect([report.trained, report.scores.length]).toEqual([0, 2]);
  },
);

test("a single run goes on from its folder too, log and result as if it had never stopped", async () => {
  const begin = (out: string): ChildProcess => {
    const sizes = ["--vocab-size", "8", "--seq-len", "16", "--train-rows", "640", "--test-rows", "64"];
    const recipe = ["--batch", "16", "--dim", "32", "--epochs", "12", "--checkpoint-every", "0"];
    const args = ["--conditions=everlong-source", MAIN, "mad", "run", "--layers", "mA", "M"];
    return spawn(process.execPath, [...args, ...sizes, ...recipe, "--out", out], { stdio: "ignore" });
  };
  const [calm, rough] = [join(folder, "calm"), join(folder, "rough")];
  expect(await ended(begin(calm))).toBe(0);
  const log = (out: string): string =>
    existsSync(join(out, "log.jsonl")) ? readFileSync(join(out, "log.jsonl"), "utf8") : "";
  let kills = 0;
  for (const lines of [2, 5, 9]) {
    const child = begin(rough);
    const end = ended(child);
    while (child.exitCode === null && log(rough).split("\n").length <= lines) await sleep(2);
    child.kill("SIGKILL");
    if ((await end) === null) kills++;
  }
  expect(kills).toBe(3);
  expect(await ended(begin(rough))).toBe(0);
  const result = (out: string): unknown =>
    (JSON.parse(readFileSync(join(out, "result.json"), "utf8")) as CellResult).runs;
  expect(result(rough)).toEqual(result(calm));
  expect(log(rough)).toBe(log(calm));
  expect(readdirSync(rough).toSorted().join()).toBe(readdirSync(calm).toSorted().join());
});

test("a search goes on where it was, and refuses other options", () => {
  const search = (store: string, ...more: string[]): ReturnType<typeof spawnSync> =>
    spawnSync(
      process.execPath,
      [
        "--conditions=everlong-source",
        MAIN,
        "mad",
        "search",
        "--words",
        "mA(heads=4)",
        "Mb",
        "Sg",
        "--settings",
        "M*",
        "--epochs",
        "0.1",
        "--minutes",
        "5",
        "--store",
        store,
        "--workers",
        "1",
        "--json",
        ...more,
      ],
      { encoding: "utf8" },
    );
  const [once, twice] = [join(folder, "once"), join(folder, "twice")];
  interface Found {
    readonly history: readonly { readonly stack: string; readonly score: number }[];
    readonly verdict: { readonly differences: readonly unknown[] } | null;
  }
  const found = (out: ReturnType<typeof spawnSync>): Found => JSON.parse(String(out.stdout)) as Found;
  const scores = (f: Found): unknown => f.history.map(({ stack, score }) => ({ stack, score }));
  const whole = found(search(once, "--trials", "6", "--confirm", "2"));
  expect(whole.history.length).toBe(6);
  const part = found(search(twice, "--trials", "3", "--confirm", "0"));
  expect(scores(part)).toEqual((scores(whole) as unknown[]).slice(0, 3));
  expect(scores(found(search(twice, "--trials", "6", "--confirm", "0")))).toEqual(scores(whole));
  const other = search(twice, "--trials", "6", "--search-seed", "9");
  expect(other.status).toBe(1);
  expect(String(other.stderr)).toMatch(/search with other options.*searchSeed/);
});
