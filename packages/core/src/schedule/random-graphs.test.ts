// Random graphs and their gradients on every registered device, against the float64 reference.

import { describe, expect, test } from "vitest";
import {
  devicesUnderTest,
  maxError,
  Random,
  SEED,
  strictly,
  valuesOf,
  weightedLoss,
} from "@everlong/testing";
import { gradients } from "../autodiff.ts";
import type { Device } from "../device.ts";
import type { DType } from "../dtype.ts";
import "../index.ts";
import { realize } from "../realize.ts";
import { device as openDevice } from "../settings.ts";
import { randomGraph } from "./random-graph.ts";

async function run(seed: number, device: Device, dtype: DType): Promise<Float64Array[]> {
  const size = 6 + (seed % 12);
  const { inputs, outputs } = randomGraph(size, { device, dtype, smooth: true, source: new Random(seed) });
  const all = [...outputs, ...gradients(weightedLoss(outputs, seed), inputs)];
  realize(all);
  const values: Float64Array[] = [];
  for (const t of all) values.push(await valuesOf(t));
  return values;
}

describe.each(devicesUnderTest())("$name", ({ name, present }) => {
  const seeds = Array.from({ length: 60 }, (_, i) => SEED + 1000 + i);
  test.skipIf(!present).each(seeds)("graph %i and its gradients", async (seed) => {
    const want = await run(seed, openDevice("reference"), "f64");
    const device = openDevice(name);
    const got = await strictly(device, true, () => run(seed, device, "f32"));
    // In units of the graph's largest value: some gradients are nothing but rounding.
    const flat = (x: readonly Float64Array[]): number[] => x.flatMap((v) => [...v]);
    expect(maxError(flat(got), flat(want))).toBeLessThan(1e-5);
  });
});
