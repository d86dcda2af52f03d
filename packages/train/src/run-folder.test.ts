import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { random } from "@everlong/core";
import { Linear } from "@everlong/nn";
import { afterAll, expect, test } from "vitest";
import { AdamW } from "./adamw.ts";
import { RunFolder } from "./run-folder.ts";
import { readRunLog, RunLog } from "./run-log.ts";

const base = mkdtempSync(join(tmpdir(), "run-folder-"));
afterAll(() => rmSync(base, { recursive: true }));

const parts = (): { model: Linear; optimizer: AdamW } => {
  const model = new Linear({ key: random.key(1), inputs: 2, outputs: 2 });
  return { model, optimizer: new AdamW(model, { learningRate: 0.1 }) };
};

test("a second process on the same folder is refused, by name", () => {
  const path = join(base, "busy");
  using folder = new RunFolder(path);
  expect(folder.path).toBe(path);
  expect(() => new RunFolder(path)).toThrow(`process ${process.pid} on ${hostname()}`);
  // and the refusal leaves the owner's lock alone
  expect(readdirSync(path)).toEqual(["lock"]);
});

test("the lock of a process that was killed is taken over; that of another machine is not", () => {
  const path = join(base, "stale");
  new RunFolder(path).close();
  const gone = Number(
    execFileSync(process.execPath, ["-e", "console.log(process.pid)"], { encoding: "utf8" }),
  );
  const lock = (host: string): void =>
    writeFileSync(join(path, "lock"), JSON.stringify({ pid: gone, host, since: "then" }));
  lock(hostname());
  writeFileSync(join(path, `best.safetensors.${gone}.partial`), "half");
  const folder = new RunFolder(path);
  // What it was writing is gone too.
  expect(readdirSync(path)).toEqual(["lock", "log.jsonl"].filter((f) => existsSync(join(path, f))));
  expect(JSON.parse(readFileSync(join(path, "lock"), "utf8"))).toMatchObject({ pid: process.pid });
  folder.close();
  expect(existsSync(join(path, "lock"))).toBe(false);
  lock("elsewhere");
  expect(() => new RunFolder(path)).toThrow("on elsewhere since then");
});

test("a run goes on from its checkpoint, with the log of its steps only", async () => {
  const path = join(base, "resumed");
  {
    using folder = new RunFolder(path);
    const run = parts();
    expect(await folder.resume(run)).toBeUndefined();
    for (const step of [1, 2, 3]) folder.write({ step, loss: 1 / step });
    await folder.save(run, { step: 2 });
    // killed in the middle of a line
    appendFileSync(folder.log.path, '{"step":4,"lo');
  }
  using folder = new RunFolder(path);
  expect(await folder.resume(parts())).toEqual({ step: 2 });
  folder.write({ step: 3, loss: 7 });
  expect(readRunLog(folder.log.path).map((e) => [e["step"], e["loss"]])).toEqual([
    [1, 1],
    [2, 0.5],
    [3, 7],
  ]);
});

test("a checkpoint that cannot be written leaves the one before", async () => {
  const path = join(base, "full");
  using folder = new RunFolder(path);
  const run = parts();
  await folder.save(run, { step: 1 });
  const before = readFileSync(join(path, "checkpoint.safetensors"));
  const broken = {
    ...run,
    optimizer: new Proxy(run.optimizer, {
      get: (of, key) =>
        key === "state"
          ? new Map([
              [
                "bad",
                {
                  value: { dtype: "f32", shape: [1], data: () => Promise.reject(new Error("no space left")) },
                },
              ],
            ])
          : Reflect.get(of, key),
    }),
  };
  await expect(folder.save(broken as typeof run, { step: 2 })).rejects.toThrow("no space left");
  expect(readFileSync(join(path, "checkpoint.safetensors")).equals(before)).toBe(true);
});

test("opening a log repairs a half-written end", () => {
  const path = join(base, "half.jsonl");
  writeFileSync(path, '{"step":1}\n{"st');
  new RunLog(path).write({ step: 2 });
  expect(readFileSync(path, "utf8")).toBe('{"step":1}\n{"step":2}\n');
});

test.skipIf(!existsSync("/dev/full"))("a full disk is named", () => {
  expect(() => new RunLog("/dev/full").write({ step: 1 })).toThrow("ENOSPC");
});
