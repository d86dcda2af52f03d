// A run that is killed again and again ends with the bits of one that never stopped.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const base = mkdtempSync(join(tmpdir(), "killed-run-"));
afterAll(() => rmSync(base, { recursive: true }));
const script = fileURLToPath(new URL("killed-run.ts", import.meta.url));

const linesOf = (folder: string): number => {
  const log = join(folder, "log.jsonl");
  return existsSync(log) ? readFileSync(log, "utf8").split("\n").length - 1 : 0;
};

/** What the program printed, or undefined when it was killed, some moment after `more` further lines of its log. */
function run(folder: string, more = Infinity): Promise<string | undefined> {
  const child = spawn(process.execPath, ["--conditions=everlong-source", script, folder]);
  let text = "";
  child.stdout.on("data", (part: Buffer) => (text += part.toString()));
  const limit = linesOf(folder) + more;
  const watch = setInterval(() => {
    if (linesOf(folder) < limit) return;
    clearInterval(watch);
    setTimeout(() => child.kill("SIGKILL"), 5 * Math.random());
  }, 1);
  return new Promise((resolve, reject) =>
    child.on("exit", (code, signal) => {
      clearInterval(watch);
      if (signal === "SIGKILL") resolve(undefined);
      else if (code === 0) resolve(text.trim());
      else reject(new Error(`exit code ${code}`));
    }),
  );
}

const steps = (folder: string): unknown[] =>
  readFileSync(join(folder, "log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { step: number }).step);

test("kill -9 at any moment costs nothing but time", async () => {
  const whole = await run(join(base, "whole"));
  const folder = join(base, "killed");
  let kills = 0;
  let printed: string | undefined;
  while (printed === undefined) {
    printed = await run(folder, kills < 8 ? 2 + Math.floor(4 * Math.random()) : Infinity);
    if (printed === undefined) kills++;
  }
  expect(printed).toBe(whole);
  expect(steps(folder)).toEqual(steps(join(base, "whole")));
  expect(kills).toBeGreaterThan(2);
});
