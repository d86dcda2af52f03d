// Losses of 100 training steps on a GPU, where there is one, are the CPU's: in float32 a device differs by roundings only.

import "@everlong/device-cpu";
import { device, setStrict, withDevice } from "@everlong/core";
import { cudaAvailable } from "@everlong/device-cuda";
import { trainRun, type Architecture, type CurvePoint } from "@everlong/mad";
import { afterAll, beforeAll, expect, test } from "vitest";

const STEPS = 100;
const available = cudaAvailable();

const hyena = (frequency: number): Architecture["layers"][number] => ({
  layer: "hyena",
  options: { filterWidth: 16, embeddingDim: 5, frequency },
});

/** Mixers, and how far losses may be apart. */
const MIXERS: readonly (readonly [name: string, mixer: Architecture["layers"][number], most: number])[] = [
  ["attention", { layer: "mh-attention", options: { heads: 4 } }, 1e-5],
  ["hyena", hyena(1), 1e-5],
  // Sines of this frequency in its filters amplify roundings: the CPU's float32 is up to 5e-5 from float64.
  ["hyena of frequency 10", hyena(10), 2e-4],
  ["mamba", "mamba", 1e-5],
];

/** Losses after every step. */
const curveOn = (name: string, mixer: Architecture["layers"][number]): Promise<readonly CurvePoint[]> =>
  withDevice(device(name), async () => {
    const { curve } = await trainRun({
      architecture: { name: "curve", layers: [mixer, "swiglu", mixer, "swiglu"] },
      task: "in-context-recall",
      taskOptions: { vocabSize: 12, seqLen: 24 },
      dim: 32,
      trainRows: 4 * STEPS,
      testRows: 8,
      batch: 4,
      steps: STEPS,
      warmup: 10,
      learningRate: 2e-3,
      weightDecay: 0.1,
      every: 1,
    });
    return curve;
  });

beforeAll(() => setStrict(true));
afterAll(() => setStrict(false));

if (available === true) {
  for (const [name, mixer, most] of MIXERS) {
    test(`${name}: losses of ${STEPS} steps follow the CPU's`, async () => {
      const [ours, want] = [await curveOn("cuda", mixer), await curveOn("cpu", mixer)];
      expect(ours.map((p) => p.step)).toEqual(Array.from({ length: STEPS + 1 }, (_, i) => i));
      const off = (a: number, b: number): number => Math.abs(a - b) / Math.abs(b);
      // Before the first step there is no training loss.
      const train = ours.slice(1).map((p, i) => off(p.trainLoss, want[i + 1]!.trainLoss));
      const tested = ours.map((p, i) => off(p.testLoss, want[i]!.testLoss));
      expect(Math.max(...train, ...tested)).toBeLessThanOrEqual(most);
      // It learns.
      expect(ours.at(-1)!.testLoss).toBeLessThan(0.8 * ours[0]!.testLoss);
    });
  }
} else {
  for (const [name] of MIXERS) test.skip(`${name} on the GPU (${available})`, () => {});
}
