// `npm run embed` for one kind of program, with whichever compiler there is, and whether GPUs that it does not name find all that they need.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { CudaTarget } from "@everlong/kernels/cuda";
import { selectiveScan } from "@everlong/kernels";
import { gradients, realize, registerDevice, sum, withDevice, zeros } from "@everlong/core";
import { EmbeddedKernels, embeddedTarget } from "./embedded-kernels.ts";
import { wholeSource } from "./kernel-cache.ts";
import { LoweringDevice } from "./lowering-device.ts";

const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;
const out = mkdtempSync(join(tmpdir(), "everlong-embed-test-"));
afterAll(() => rmSync(out, { recursive: true, force: true }));

interface Programs {
  readonly GPUS: Readonly<Record<string, Readonly<Record<string, CudaTarget>>>>;
  readonly kernelsFor: (target: CudaTarget, only?: string) => Promise<ReadonlyMap<string, unknown>>;
}

test("GPUs that embedding does not name need no other kernels than those that it does", async () => {
  const programs = "../../../scripts/embedded-programs.ts";
  const { GPUS, kernelsFor } = (await import(
    /* @vite-ignore */ new URL(programs, import.meta.url).href
  )) as Programs;
  const gpu = (arch: number, processors: number, sharedLimit: number, cacheMiB: number): CudaTarget => ({
    arch,
    processors,
    sharedLimit,
    cacheBytes: cacheMiB * 2 ** 20,
  });
  const others = {
    A30: gpu(80, 56, 166_912, 24),
    "RTX 3060": gpu(86, 28, 101_376, 3),
    L40S: gpu(89, 142, 101_376, 96),
    H20: gpu(90, 78, 232_448, 60),
    B300: gpu(103, 160, 232_448, 126),
    GB10: gpu(121, 48, 101_376, 24),
  };
  for (const only of ["attention", "long-convolution"]) {
    const embedded = new Map<string, Set<string>>();
    for (const [target, gpus] of Object.entries(GPUS)) {
      const names = new Set<string>();
      for (const named of Object.values(gpus))
        for (const name of (await kernelsFor(named, only)).keys()) names.add(name);
      embedded.set(target, names);
    }
    for (const [name, target] of Object.entries(others)) {
      const needed = [...(await kernelsFor(target, only)).keys()];
      expect(needed.length, name).toBeGreaterThan(50);
      const there = embedded.get(embeddedTarget(target.arch))!;
      expect(needed.filter((k) => !there.has(k)).length, `${only} kernels that ${name} lacks`).toBe(0);
    }
  }
});

test.skipIf(!hasNvcc)(
  "kernels of a selective scan are found at other sizes than they were built for",
  async () => {
    const script = new URL("../../../scripts/embed-kernels.ts", import.meta.url).pathname;
    const args = ["--conditions=everlong-source", script, "--only", "recurrence", "--out", out];
    execFileSync(process.execPath, args, {
      stdio: "pipe",
      env: { ...process.env, EVERLONG_NVRTC: "/nowhere" },
    });
    const device = new LoweringDevice({ computes: false });
    registerDevice(device.name, () => device);
    withDevice(device, () => {
      const make = (...shape: number[]) => zeros(shape);
      const inputs = [make(3, 333, 64), make(3, 333, 64), make(64, 16), make(3, 333, 16), make(3, 333, 16)];
      const [u, delta, a, b, c] = inputs as [ReturnType<typeof make>, ...ReturnType<typeof make>[]];
      realize(gradients(sum(selectiveScan(u, delta!, a!, b!, c!).y), inputs));
    });
    const scans = [...device.kernels.values()].filter((k) => k.entry.startsWith("selective_scan"));
    expect(scans.length).toBeGreaterThan(2);
    for (const [arch, starts] of [
      [90, "\x7fELF"],
      [80, "\x7fELF"],
      [120, "//"],
    ] as const) {
      const kernels = EmbeddedKernels.open(arch, out)!;
      for (const kernel of scans) {
        const image = kernels.find(wholeSource(kernel), kernel);
        expect(image, `${kernel.entry} for ${kernels.target}`).toBeDefined();
        expect(Buffer.from(image!).toString("latin1").trimStart().startsWith(starts)).toBe(true);
      }
    }
  },
);
