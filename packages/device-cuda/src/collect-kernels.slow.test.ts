// The checks of every primitive and fused op on a device that lowers each step to CUDA: code is generated for all of it, and nvcc,
// where there is one, compiles it for sm_80 and sm_90a.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { registerDevice } from "@everlong/core";
import { cudaPrelude } from "@everlong/kernels/cuda";
import { wholeSource } from "./kernel-cache.ts";
import { LoweringDevice } from "./lowering-device.ts";

const device = new LoweringDevice();
registerDevice(device.name, () => device);
process.env["EVERLONG_CHECKS"] = "devices";
const load = (path: string): Promise<unknown> =>
  import(/* @vite-ignore */ new URL(path, import.meta.url).href);
for (const name of ["elementwise", "movement", "reduction", "kernel", "fft", "structure"])
  await load(`../../core/src/rules/${name}.test.ts`);
await load("../../core/src/schedule/random-graphs.test.ts");
const kernels = "../../kernels/src/";
for (const folder of readdirSync(new URL(kernels, import.meta.url))) {
  const path = `${kernels}${folder}/op.test.ts`;
  if (existsSync(new URL(path, import.meta.url))) await load(path);
}

const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "everlong-nvcc-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/**
 * One translation unit of many kernels: a namespace each and macros of its own, so that names do not meet. A file may hold several entries; the ones that are not
 * asked for become templates, which nobody instantiates. Kernels of clusters are only for GPUs that have clusters.
 */
function translationUnit(arch: string): string {
  const hasClusters = arch === "sm_90a";
  const sources = [...device.kernels.values()].map((k) => ({ entry: k.entry, source: k.source() }));
  const fitting = sources.filter(({ source }) => hasClusters || !source.includes("__cluster_dims__"));
  const parts = fitting.map((k, i) => {
    const own = k.source.replace(
      /extern "C" __global__([^;{]*?)\b(\w+)\(const __grid_constant__/g,
      (_, before: string, name: string) =>
        `${name === k.entry ? "" : "template <int> "}__global__${before}${name}(const __grid_constant__`,
    );
    const macros = [...own.matchAll(/^\s*#define (\w+)/gm)].map(([, name]) => `#undef ${name}`);
    return `namespace n${i} {\n${own}\n${macros.join("\n")}\n}`;
  });
  return `${cudaPrelude}\n${parts.join("\n")}\n`;
}

test("every kernel waits for the one in front, whatever it begins with", () => {
  expect(device.kernels.size).toBeGreaterThan(100);
  for (const kernel of device.kernels.values())
    expect(wholeSource(kernel)).toContain("{ wait_for_previous();");
});

for (const arch of ["sm_80", "sm_90a"]) {
  test.skipIf(!hasNvcc)(`nvcc compiles every kernel for ${arch}`, () => {
    expect(device.kernels.size).toBeGreaterThan(100);
    const file = join(folder, `${arch}.cu`);
    writeFileSync(file, translationUnit(arch));
    const name = arch.replace("sm_", "");
    execFileSync(
      "nvcc",
      ["-std=c++17", "-w", "-cubin", `-gencode=arch=compute_${name},code=${arch}`, "-o", "/dev/null", file],
      {
        stdio: "pipe",
        maxBuffer: 2 ** 26,
      },
    );
  });
}
