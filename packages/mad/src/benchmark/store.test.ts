import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { CellResult } from "./result.ts";
import { ResultStore } from "./store.ts";

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "everlong-store-"))));
afterEach(() => rmSync(folder, { recursive: true }));

const KEY = "ab".repeat(20);
const result = (key: string, seconds = 1): CellResult =>
  ({ format: 1, key, seconds, finished: "2026-01-01", setting: "s" }) as CellResult;

test("what is put is found, by another store too, and nothing else lies about", () => {
  const store = new ResultStore(folder);
  expect(store.get(KEY)).toBeUndefined();
  store.put(result(KEY, 3));
  expect(new ResultStore(folder).get(KEY)?.seconds).toBe(3);
  store.put(result(KEY, 4));
  expect(store.all().map((r) => r.seconds)).toEqual([4]);
  expect(readdirSync(join(folder, "cells", "ab"))).toEqual([`${KEY}.json`]);
});

test("a damaged file is named", () => {
  const store = new ResultStore(folder);
  store.put(result(KEY));
  const path = join(folder, "cells", "ab", `${KEY}.json`);
  writeFileSync(path, readFileSync(path, "utf8").slice(0, 20));
  expect(() => store.get(KEY)).toThrow(new RegExp(`${KEY}.json is not JSON.*Delete it`));
  writeFileSync(path, JSON.stringify(result("cd")));
  expect(() => store.all()).toThrow(/no result of this version/);
});

test("a folder that cannot be written is an error with the path", () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  expect(() => new ResultStore(file).claim(KEY)).toThrow(/file.claims\] cannot make folder: got EEXIST/);
  expect(() => new ResultStore(file).put(result("ab"))).toThrow(
    /file.cells.*\] cannot make folder: got EEXIST/,
  );
});

test("a key has one claimant at a time", () => {
  const [a, b] = [new ResultStore(folder), new ResultStore(folder)];
  const first = a.claim(KEY)!;
  expect(first).toBeDefined();
  expect(b.claim(KEY)).toBeUndefined();
  expect(b.claim("cd".repeat(20))).toBeDefined();
  first.release();
  const second = b.claim(KEY)!;
  expect(second).toBeDefined();
  // The first owner's release came before; a late one must not free the second's claim.
  first.release();
  expect(a.claim(KEY)).toBeUndefined();
});

test("the claim of a killed process is taken over at once", async () => {
  const store = new ResultStore(folder);
  store.claim(KEY)!.release();
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  const owner = { pid: child.pid, host: hostname(), token: "x" };
  writeFileSync(join(folder, "claims", `${KEY}.json`), JSON.stringify(owner));
  expect(store.claim(KEY)).toBeUndefined();
  const gone = new Promise((resolve) => child.on("exit", resolve));
  child.kill("SIGKILL");
  await gone;
  expect(store.claim(KEY)).toBeDefined();
});

test("the claim of another machine is taken over when its heartbeat stopped", () => {
  const store = new ResultStore(folder);
  store.claim(KEY)!.release();
  const path = join(folder, "claims", `${KEY}.json`);
  writeFileSync(path, JSON.stringify({ pid: 1, host: "elsewhere", token: "x" }));
  expect(store.claim(KEY)).toBeUndefined();
  const old = new Date(Date.now() - 120_000);
  utimesSync(path, old, old);
  expect(store.claim(KEY)).toBeDefined();
});
