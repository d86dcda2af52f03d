import "@everlong/device-cpu";
import { EventEmitter } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { device, withDevice } from "@everlong/core";
import { Command } from "commander";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { RunWorker } from "../train/pool.ts";
import { quickConfigs } from "../train/quick.ts";
import { trainRun } from "../train/run.ts";
import { registerQuick } from "./quick-command.ts";

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "everlong-quick-"))));
afterEach(() => rmSync(folder, { recursive: true }));

test("a folder that takes no files is refused before anything is trained", async () => {
  const startWorker = vi.fn();
  const program = new Command().exitOverride();
  registerQuick(program, { startWorker, environment: () => ({}) });
  const quick = (out: string): Promise<Command> =>
    program.parseAsync(["quick", "--json", "--out", out], { from: "user" });
  writeFileSync(join(folder, "file"), "");
  await expect(quick(join(folder, "file"))).rejects.toThrow(/cannot make folder/);
  if (process.platform === "linux")
    await expect(quick("/proc/self")).rejects.toThrow(/cannot write file: got ENOENT|EACCES|EPERM/);
  expect(startWorker).not.toHaveBeenCalled();
});

test("beside the CPU one run at a time by default, and the page repeats with the device", async () => {
  vi.spyOn(console, "log").mockReturnValue();
  const [config] = quickConfigs(1);
  const small = { dim: 8, trainRows: 2, testRows: 2, batch: 2, steps: 1, warmup: 0, every: 1 };
  const record = await withDevice(device("cpu"), () => trainRun({ ...config!, ...small }, () => {}));
  const answering = (): RunWorker => {
    const worker = new EventEmitter();
    const postMessage = ({ id }: { id: number }): void =>
      void setImmediate(() => worker.emit("message", { kind: "answer", id, answer: record }));
    return Object.assign(worker, { postMessage, terminate: async () => {} }) as unknown as RunWorker;
  };
  const started = async (...more: string[]): Promise<number> => {
    const startWorker = vi.fn(answering);
    const program = new Command().exitOverride();
    registerQuick(program, { startWorker, environment: () => ({ device: "reference" }) });
    const words = ["quick", "--json", "--seed", "7", "--out", folder, ...more];
    await withDevice(device("reference"), () => program.parseAsync(words, { from: "user" }));
    return startWorker.mock.calls.length;
  };
  expect(await started()).toBe(1);
  expect(await started("--workers", "3")).toBe(3);
  const page = readFileSync(join(folder, "report.html"), "utf8");
  expect(page).toContain("everlong --device reference mad quick --seed 7");
  vi.restoreAllMocks();
});
