import { spawnSync } from "node:child_process";
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cacheFolder, DiskCache } from "./disk-cache.ts";

let root: string;
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), "everlong-kernels-"))));
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

const image = (n: number): Uint8Array => Uint8Array.from({ length: 5000 }, (_, i) => (i * n) % 251);

test("what one process wrote another reads, in folders that were not there", () => {
  const folder = join(root, "a", "b", "c");
  new DiskCache(folder).write("key", image(1));
  const other = new DiskCache(folder);
  expect(Buffer.from(other.read("key")!).equals(image(1))).toBe(true);
  expect(other.read("another key")).toBeUndefined();
  other.write("key", image(2));
  expect(Buffer.from(other.read("key")!).equals(image(2))).toBe(true);
  expect(readdirSync(folder)).toHaveLength(1);
});

test.each([
  ["a changed byte", (b: Buffer) => void (b[100]! ^= 1)],
  ["a changed digest", (b: Buffer) => void (b[b.length - 1]! ^= 1)],
  ["half a file", (b: Buffer) => b.subarray(0, b.length / 2)],
  ["a few bytes", (b: Buffer) => b.subarray(0, 9)],
  ["an empty file", (b: Buffer) => b.subarray(0, 0)],
])("%s is not an image, and the next one that is made takes its place", (_, damage) => {
  const cache = new DiskCache(root);
  cache.write("key", image(1));
  const path = join(root, readdirSync(root)[0]!);
  const bytes = readFileSync(path);
  writeFileSync(path, damage(bytes) ?? bytes);
  expect(cache.read("key")).toBeUndefined();
  cache.write("key", image(1));
  expect(cache.read("key")).toHaveLength(5000);
});

test("a folder that cannot be made is said once, and nothing is left behind", () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  writeFileSync(join(root, "file"), "");
  const cache = new DiskCache(join(root, "file", "deeper"));
  for (const key of ["one", "two"]) cache.write(key, image(1));
  expect(cache.read("one")).toBeUndefined();
  expect(warn.mock.calls.map(([text]) => text as string)).toEqual([
    expect.stringMatching(/compiled kernels cannot be kept in .*file.deeper .*EVERLONG_CACHE names another/),
  ]);
  expect(readdirSync(root)).toEqual(["file"]);
});

test.skipIf(process.getuid?.() !== 0)("what another user could have written is not read", () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const folder = join(root, "everlong", "cuda");
  new DiskCache(folder).write("key", image(1));
  for (const taken of [folder, root]) {
    chownSync(taken, 12_345, 12_345);
    const cache = new DiskCache(folder);
    cache.write("another", image(1));
    for (const key of ["key", "another"]) expect(cache.read(key)).toBeUndefined();
    expect(warn).toHaveBeenLastCalledWith(expect.stringMatching(/\(it belongs to another user\)/));
    chownSync(taken, 0, 0);
  }
  expect(warn).toHaveBeenCalledTimes(2);
  expect(new DiskCache(folder).read("key")).toHaveLength(5000);
});

test("the folder is the one asked for, else the user's", () => {
  expect(cacheFolder({ EVERLONG_CACHE: "/x" })).toBe(join("/x", "cuda"));
  expect(cacheFolder({ XDG_CACHE_HOME: "/y" })).toBe(join("/y", "everlong", "cuda"));
  expect(cacheFolder({ XDG_CACHE_HOME: "" })).toMatch(/everlong.cuda$/);
});

test("processes that write the same keys at once leave whole images", () => {
  // The parent waits for all children of a shell, which start together.
  const module = new URL("./disk-cache.ts", import.meta.url).href;
  const code = `const { DiskCache } = await import(${JSON.stringify(module)});
    const cache = new DiskCache(process.argv[1]);
    for (let round = 0; round < 40; round++) {
      for (const key of ["one", "two"]) {
        const found = cache.read(key);
        if (found && found.length !== 30000) throw new Error("half an image");
        cache.write(key, new Uint8Array(30000).fill(key.length + round));
      }
    }`;
  const child = `"${process.execPath}" --conditions=everlong-source --input-type=module -e '${code}' "${join(root, "deep", "er")}"`;
  const { status, stderr } = spawnSync(
    "sh",
    ["-c", `${child} & a=$!; ${child} & b=$!; ${child} && wait $a && wait $b`],
    {
      encoding: "utf8",
    },
  );
  expect([status, stderr]).toEqual([0, ""]);
  expect(readdirSync(join(root, "deep", "er"))).toHaveLength(2);
  for (const key of ["one", "two"])
    expect(new DiskCache(join(root, "deep", "er")).read(key)).toHaveLength(30000);
});
