import { afterEach, expect, test, vi } from "vitest";
import { CompileThreads } from "./compile-threads.ts";
import type { DiskCache } from "./disk-cache.ts";
import type { Driver } from "./driver.ts";
import { KernelCache, wholeSource } from "./kernel-cache.ts";
import { Nvrtc } from "./nvrtc.ts";

afterEach(() => void vi.restoreAllMocks());

const kernel = (name: string, body = "") => ({
  key: name,
  entry: name,
  source: () => `extern "C" __global__ void ${name}(float* x) {${body}}`,
});

interface Host {
  readonly driver?: number;
  readonly arch?: number;
  readonly nvrtc?: string;
}

/** Images that survive processes, what was compiled, and what the driver loaded. */
class Disk {
  readonly images = new Map<string, Uint8Array>();
  readonly compiled: { readonly source: string; readonly options: readonly string[] }[] = [];
  readonly loaded: string[] = [];
  readonly allowed: (readonly [number, number])[] = [];

  /** The kernels of a process. */
  process({ driver = 13_000, arch = 90, nvrtc = "13.0" }: Host = {}): KernelCache {
    const compile = (source: string, _: string, options: readonly string[]): Uint8Array => {
      this.compiled.push({ source, options });
      return new TextEncoder().encode(`${nvrtc} ${driver} ${options.join()} ${source}`);
    };
    const compiler = Object.assign(Object.create(Nvrtc.prototype) as Nvrtc, {
      version: nvrtc,
      path: "/nowhere/libnvrtc.so",
      compile,
    });
    vi.spyOn(Nvrtc, "open").mockReturnValue(compiler);
    vi.spyOn(CompileThreads.prototype, "compile").mockImplementation((jobs, options) =>
      jobs.map(({ source, entry }) => compile(source, entry, options)),
    );
    const cuda = {
      version: driver,
      loadModule: (image: Uint8Array) => this.loaded.push(new TextDecoder().decode(image)),
      getFunction: (module: number) => 100 + module,
      allowShared: (handle: number, bytes: number) => this.allowed.push([handle, bytes]),
    };
    const disk = {
      read: (key: string) => this.images.get(key),
      write: (key: string, image: Uint8Array) => this.images.set(key, image),
    };
    const cache = new KernelCache(cuda as unknown as Driver, arch, disk as unknown as DiskCache);
    // Opened now: the next process has a compiler of its own.
    void cache.origin;
    return cache;
  }
}

test("what a process compiled the next one finds", () => {
  const disk = new Disk();
  const names = ["a", "b", "c", "d"];
  // One by one, and all at once.
  disk.process().get(kernel("a"), 0);
  disk.process().prepare(names.map((n) => kernel(n)));
  expect(disk.compiled.length).toBe(4);
  const third = disk.process();
  third.prepare(names.slice(2).map((n) => kernel(n)));
  for (const name of names) third.get(kernel(name), 0);
  expect(disk.compiled.length).toBe(4);
  expect(third.built).toBe(4);
  for (const name of names)
    expect(disk.loaded.filter((image) => image.includes(`void ${name}(`)).length).toBe(name === "a" ? 2 : 1);
});

test.each<readonly [string, Host, ReturnType<typeof kernel>]>([
  ["driver", { driver: 12_080 }, kernel("a")],
  ["architecture", { arch: 80 }, kernel("a")],
  ["compiler", { nvrtc: "12.8" }, kernel("a")],
  ["source", {}, kernel("a", " x[0] = 1.f;")],
])("another %s has images of its own, beside those of the first", (_, host, changed) => {
  const all = [changed, kernel("b"), kernel("c")];
  for (const load of [
    (cache: KernelCache) => cache.get(changed, 0),
    (cache: KernelCache) => cache.prepare(all),
  ]) {
    const disk = new Disk();
    disk.process().get(kernel("a"), 0);
    const other = disk.process(host);
    load(other);
    other.get(changed, 0);
    expect(disk.compiled.filter(({ source }) => source.includes("void a(")).length).toBe(2);
    expect(disk.loaded[1]).toContain(`${host.nvrtc ?? "13.0"} ${host.driver ?? 13_000} `);
    expect(disk.loaded[1]).not.toBe(disk.loaded[0]);
    const again = disk.process();
    again.get(kernel("a"), 0);
    expect(disk.loaded[2]).toBe(disk.loaded[0]);
  }
});

test("the compiler is told the GPU, Hopper with its own instructions, and that every kernel waits first", () => {
  const disk = new Disk();
  for (const arch of [80, 89, 90, 100]) disk.process({ arch }).get(kernel("a"), 0);
  expect(disk.compiled.map(({ options }) => options)).toEqual(
    ["sm_80", "sm_89", "sm_90a", "sm_100"].map((name) => [`--gpu-architecture=${name}`, "--std=c++17"]),
  );
  for (const { source } of disk.compiled) {
    expect(source).toBe(wholeSource(kernel("a")));
    expect(source).toContain("void a(float* x) { wait_for_previous();");
  }
});

test("all entries of a source wait for the kernel in front, whatever stands around them", () => {
  const source = `
template <int N> __device__ float f(float x) { return N * x; }
extern "C" __global__ void __launch_bounds__(256, 2) first(
    const __grid_constant__ Words<4> w) {
  if (threadIdx.x) { return; }
}
extern "C" __global__ void second(const __grid_constant__ Words<4> w) { }`;
  const whole = wholeSource({ key: "k", entry: "first", source: () => source });
  expect(whole.split("wait_for_previous();").length - 1).toBe(2);
  expect(whole).toMatch(/first\(\n[^{]*\{ wait_for_previous\(\);\n {2}if/);
  expect(whole).toMatch(/second\([^{]*\{ wait_for_previous\(\); \}/);
  for (const odd of [
    "__global__ void odd(float* x) { }",
    'extern "C" __global__ __launch_bounds__(32) void odd(float* x) { }',
    'extern "C" __global__ void odd(float* x);\n__device__ void f() { }',
  ])
    expect(() => wholeSource({ key: "odd", entry: "odd", source: () => odd })).toThrow(
      /kernel odd begins in a way of its own/,
    );
});

test("shared memory is asked for once, and again for more", () => {
  const disk = new Disk();
  const cache = disk.process();
  for (const bytes of [0, 1000, 500, 1000, 70_000, 60_000]) cache.get(kernel("a"), bytes);
  expect(disk.allowed).toEqual([
    [101, 1000],
    [101, 70_000],
  ]);
  expect(disk.loaded.length).toBe(1);
});
