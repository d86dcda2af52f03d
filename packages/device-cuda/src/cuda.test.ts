import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { device, DeviceError } from "@everlong/core";
import { DiskCache } from "./disk-cache.ts";
import { cudaAvailable } from "./index.ts";
import { roundSize } from "./memory-pool.ts";

const available = cudaAvailable();

test.skipIf(available === true)("without a GPU the device says what is missing", () => {
  expect(available).toMatch(/^\[cuda\] .*(driver|GPU|NVRTC|koffi)/);
  expect(() => device("cuda")).toThrow(DeviceError);
});

test("a damaged kernel file is compiled again", () => {
  const folder = mkdtempSync(join(tmpdir(), "everlong-cache-"));
  const cache = new DiskCache(folder);
  cache.write("key", Uint8Array.of(1, 2, 3));
  expect([...cache.read("key")!]).toEqual([1, 2, 3]);
  expect(cache.read("other")).toBeUndefined();
  writeFileSync(join(folder, readdirSync(folder)[0]!), Uint8Array.of(1, 2));
  expect(cache.read("key")).toBeUndefined();
});

test("block sizes hold what was asked for and waste at most a quarter", () => {
  for (const n of [1, 513, 4097, 123_457, 2 ** 30 + 1]) {
    expect(roundSize(n)).toBeGreaterThanOrEqual(n);
    if (n > 4096) expect(roundSize(n)).toBeLessThan(1.25 * n);
  }
});
