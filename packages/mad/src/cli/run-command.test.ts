import "@everlong/device-cpu";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setDefaultDevice } from "@everlong/core";
import { readRunLog } from "@everlong/train";
import { Command } from "commander";
import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { CellResult } from "../benchmark/result.ts";
import { registerRun } from "./run-command.ts";

beforeAll(() => setDefaultDevice("cpu"));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "everlong-run-"));
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

/** What `mad run` with these arguments prints as JSON. */
async function run(...more: string[]): Promise<CellResult> {
  const lines: string[] = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void lines.push(line));
  const program = new Command().exitOverride();
  registerRun(program, {
    startWorker: () => {
      throw new Error("no workers here");
    },
    environment: () => ({}),
  });
  const small = ["--vocab-size", "8", "--seq-len", "16", "--train-rows", "40", "--test-rows", "16"];
  const sizes = ["--batch", "8", "--dim", "16", "--epochs", "2", "--lr", "1e-2"];
  await program.parseAsync(["run", "--json", ...small, ...sizes, ...more], { from: "user" });
  return JSON.parse(lines.join("")) as CellResult;
}

test("compat trains as mad-lab's script does: constant rate, layers made for 1,280 tokens", async () => {
  const layers = ["--layers", "hyena", "mlp"];
  const [plain, compat, made] = [
    await run(...layers),
    await run(...layers, "--compat", "on"),
    await run(...layers, "--compat", "on", "--max-length", "32"),
  ];
  expect(plain!.recipe).toMatchObject({ schedule: "cosine", accuracy: "epoch", norm: "layer" });
  expect(plain!.recipe.maxLength).toBeUndefined();
  expect(compat!.recipe).toMatchObject({ schedule: "constant", accuracy: "batches", maxLength: 1280 });
  expect(made!.recipe.maxLength).toBe(32);
  // Hyena's filters depend on the length that they are made for, from the first step on.
  const first = (r: CellResult): number => r.runs[0]!.curve[0]!.testLoss;
  expect(new Set([plain, compat, made].map((r) => first(r!))).size).toBe(3);
  expect(new Set([plain, compat, made].map((r) => r!.key)).size).toBe(3);
});

test("--out keeps result, log and checkpoints, and is one process's at a time", async () => {
  const layers = ["--layers", "mlp", "--tensorboard"];
  const result = await run(...layers, "--out", folder);
  const files = readdirSync(folder);
  for (const name of ["result.json", "curve.csv", "report.html", "best.safetensors", "last.safetensors"])
    expect(files).toContain(name);
  expect(files.some((f) => f.startsWith("events.out.tfevents"))).toBe(true);
  expect(files).not.toContain("partial");
  expect(files).not.toContain("lock");
  const points = result.runs[0]!.curve.map((p) => p.step);
  expect(readRunLog(join(folder, "log.jsonl")).map((e) => e["step"])).toEqual(points);
  // Again into the same folder: the log is the new run's.
  await run(...layers, "--out", folder);
  expect(readRunLog(join(folder, "log.jsonl")).length).toBe(points.length);
  writeFileSync(
    join(folder, "lock"),
    JSON.stringify({ pid: process.pid, host: hostname(), since: "2026-01-01" }),
  );
  await expect(run(...layers, "--out", folder)).rejects.toThrow(/is in use/);
});
