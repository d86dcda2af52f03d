// The checks of every primitive, of random graphs, of compile and of every fused op once more, on a GPU where there is one.

import { existsSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { device, deviceNames, gradients, mul, sum, tensor } from "@everlong/core";
import { fftConvOp } from "@everlong/kernels";
import { normal, Random, relativeError, strictly } from "@everlong/testing";
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
  // Sizes that small checks do not reach: one block's longest, and the passes beyond it, against the transform in float64.
  for (const [length, circular] of [
    [5000, false],
    [8192, true],
    [9001, false],
    [20_000, false],
    [16_384, true],
  ] as const) {
    test(`long convolution of ${length}${circular ? ", circular" : ""}`, async () => {
      const random = new Random(length);
      const shapes = [[3, 2, length], [2, length], [2], [3, 2, length], [3, 2, length]];
      const values = shapes.map((s) =>
        Float32Array.from({ length: s.reduce((a, b) => a * b, 1) }, () => normal(random, 0)),
      );
      const inputs = ["u", "k", "skip", "preGate", "postGate"] as const;
      const origin = circular ? 0 : 7;
      const params = { layout: "bdl", circular, origin, adjoint: false, inputs } as const;
      const results = (name: string): Promise<ArrayLike<number>[]> =>
        strictly(device(name), true, async () => {
          const dtype = name === "reference" ? "f64" : "f32";
          const given = values.map((v, i) => tensor(v, shapes[i]!, { dtype }));
          const [y] =
            name === "reference"
              ? fftConvOp.def.decompose!(given, params as never)
              : fftConvOp(given, params);
          const [du] = gradients(sum(mul(y!, y!)), [given[0]!]);
          return [await y!.data(), await du!.data()];
        });
      const [got, want] = [await results("cuda"), await results("reference")];
      want.forEach((w, i) => expect(relativeError(got[i]!, w)).toBeLessThan(3e-6));
    });
  }
  test("a device of its own refuses what does not fit", () => {
    const small = cudaDevice({ memoryLimit: 2 ** 20 });
    expect(() => small.upload(new Float32Array(2 ** 20), "f32")).toThrow(/out of memory for f32\[1048576\]/);
  });
} else {
  test.skip(`on the GPU (${available})`, () => {});
}
