// The parts of a training step at small sizes, on a device that lowers every step for CUDA and computes it without a GPU.

import { registerDevice, setStrict, withDevice } from "@everlong/core";
import { LoweringDevice } from "@everlong/device-cuda/lowering";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cudaAdamWCase } from "./cuda-adamw.ts";
import { cudaStepPartCases } from "./cuda-step-parts.ts";

const lowering = new LoweringDevice();
registerDevice("cuda", () => lowering);
beforeAll(() => setStrict(true));
afterAll(() => setStrict(false));

const cases = [
  ...cudaStepPartCases({
    norm: [128, 24],
    classes: [128, 33],
    embedding: [40, 31, 8],
    scan: [2, 60, 9, 4],
    attention: [2, 19, 4, 6],
  }),
  cudaAdamWCase({ layers: 2, width: 8, vocabulary: 31, positions: 6 }),
];

for (const c of cases) {
  test(`${c.name}: every step has a kernel, and the check agrees`, () =>
    withDevice(lowering, async () => {
      const { error, close } = await c.prepare();
      const off = await error();
      expect(off).toBeLessThanOrEqual(c.tolerance);
      close!();
    }));
}
