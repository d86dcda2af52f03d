// The checks of every primitive, of random graphs, of compile and of every fused op once more, on a GPU where there is one.

import { existsSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { deviceNames } from "@everlong/core";
import { cudaAvailable, cudaDevice } from "./index.ts";

const load = (path: string): Promise<unknown> =>
  import(/* @vite-ignore */ new URL(path, import.meta.url).href);
const available = cudaAvailable();

if (available === true) {
  process.env["EVERLONG_CHECKS"] = "devices";
  for (const name of ["elementwise", "movement", "reduction", "kernel", "fft", "structure"])
    await load(`../../core/src/rules/${name}.test.ts`);
  await load("../../core/src/schedule/random-graphs.test.ts");
  const kernels = "../../kernels/src/";
  for (const folder of readdirSync(new URL(kernels, import.meta.url))) {
    const path = `${kernels}${folder}/op.test.ts`;
    if (existsSync(new URL(path, import.meta.url))) await load(path);
  }
  test("the device is there", () => expect(deviceNames()).toContain("cuda"));
  test("a device of its own refuses what does not fit", () => {
    const small = cudaDevice({ memoryLimit: 2 ** 20 });
    expect(() => small.upload(new Float32Array(2 ** 20), "f32")).toThrow(/out of memory for f32\[1048576\]/);
  });
} else {
  test.skip(`on the GPU (${available})`, () => {});
}
