import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import type { DiskCache } from "./disk-cache.ts";
import type { Driver } from "./driver.ts";
import {
  embeddedFile,
  EmbeddedKernels,
  embeddedName,
  embeddedTarget,
  packKernels,
  sourcesDigest,
} from "./embedded-kernels.ts";
import { KernelCache, wholeSource } from "./kernel-cache.ts";

const folder = mkdtempSync(join(tmpdir(), "everlong-embedded-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

const kernel = (name: string) => ({ key: name, entry: name, source: () => `// ${name}` });
const image = (name: string): Uint8Array => new TextEncoder().encode(`image of ${name} `.repeat(20));
const pack = (names: readonly string[], sources: string = sourcesDigest()): Uint8Array =>
  packKernels(
    new Map(names.map((n) => [embeddedName(wholeSource(kernel(n))), { key: n, image: image(n) }])),
    "some compiler",
    sources,
  );
writeFileSync(embeddedFile("sm_90a", folder), pack(["first", "second"]));

/** A cache of a host without NVRTC and of the driver's loads. */
function cacheFor(arch: number, from: string): { cache: KernelCache; loaded: Uint8Array[] } {
  vi.stubEnv("EVERLONG_NVRTC", "/nowhere/libnvrtc.so");
  const loaded: Uint8Array[] = [];
  const driver = { version: 13000, loadModule: (x: Uint8Array) => loaded.push(x), getFunction: () => 7 };
  const disk = { read: () => undefined, write: () => expect.unreachable() };
  return {
    cache: new KernelCache(driver as unknown as Driver, arch, disk as unknown as DiskCache, from),
    loaded,
  };
}

test("a GPU is given machine code of its family, a newer one PTX", () => {
  expect([80, 86, 89, 90, 100, 120].map(embeddedTarget)).toEqual([
    "sm_80",
    "sm_80",
    "sm_80",
    "sm_90a",
    "compute_80",
    "compute_80",
  ]);
});

test("without NVRTC the package's kernels are loaded, and it is said once that others cannot run", () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const { cache, loaded } = cacheFor(90, folder);
  cache.prepare([kernel("first"), kernel("second"), kernel("third")]);
  for (const name of ["second", "first", "second"])
    expect(cache.get(kernel(name), 0)).toMatchObject({ handle: 7, name });
  expect(loaded.map((x) => [...x])).toEqual([[...image("second")], [...image("first")]]);
  expect(warn.mock.calls.map(([text]) => text as string)).toEqual([
    expect.stringMatching(
      /NVRTC was not found.*pip install nvidia-cuda-nvrtc.* only the 2 kernels .* sm_90a can run/,
    ),
  ]);
  expect(() => cache.get(kernel("third"), 0)).toThrow(
    /kernel third is not among the 2 .* no NVRTC to compile it.*pip install nvidia-cuda-nvrtc/,
  );
});

test("the package's machine code for Hopper waits for the kernel in front, PTX for older GPUs does not", () => {
  vi.spyOn(console, "warn").mockImplementation(() => {});
  for (const target of ["sm_80", "compute_80"] as const)
    writeFileSync(embeddedFile(target, folder), pack(["first"]));
  expect([80, 90, 100, 120].map((arch) => cacheFor(arch, folder).cache.waitInside)).toEqual([
    false,
    true,
    false,
    false,
  ]);
  for (const target of ["sm_80", "compute_80"] as const) rmSync(embeddedFile(target, folder));
});

test("without NVRTC and without kernels of its own the device says what to install", () => {
  const { cache } = cacheFor(80, folder);
  expect(() => cache.origin).toThrow(
    /NVRTC was not found: expected libnvrtc.so.13 or libnvrtc.so.12, got EVERLONG_NVRTC=.*install the CUDA toolkit/,
  );
});

test("kernels of other sources are not used, which is said in one line", () => {
  const warn = vi
    .spyOn(console, "warn")
    .mockReset()
    .mockImplementation(() => {});
  writeFileSync(embeddedFile("sm_80", folder), pack(["first"], "of another version"));
  const { cache } = cacheFor(80, folder);
  for (let i = 0; i < 2; i++) expect(() => cache.origin).toThrow(/NVRTC was not found/);
  rmSync(embeddedFile("sm_80", folder));
  expect(warn.mock.calls).toEqual([
    [
      expect.stringMatching(
        /^\[cuda\] the kernels that the package brings for sm_80 were compiled from other sources than it has now and are not used; "npm run embed" [^\n]*$/,
      ),
    ],
  ]);
});

test("a kernel of the same key and another source is not taken for another kernel", () => {
  vi.spyOn(console, "warn").mockImplementation(() => {});
  const { cache } = cacheFor(90, folder);
  const changed = { ...kernel("first"), source: () => "// first, changed" };
  expect(() => cache.get(changed, 0)).toThrow(
    /kernel first that the package brings for sm_90a was compiled from another source than it has now. .*npm run embed/,
  );
});

test("a damaged file is an error, not an empty table", () => {
  const path = embeddedFile("sm_80", folder);
  writeFileSync(path, pack(["first"]).subarray(0, 60));
  expect(() => EmbeddedKernels.open(80, folder)).toThrow(/sm_80.kernels holds no kernels/);
  rmSync(path);
  expect(EmbeddedKernels.open(80, folder)).toBeUndefined();
});
