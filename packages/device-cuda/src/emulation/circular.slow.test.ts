// Circular convolutions in float32 of lengths that are no power of two, in a transform of the next one, on the CPU against float64.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { device as openDevice, gradients, mul, sum, tensor, withDevice, type Device } from "@everlong/core";
import { fftConv, fftConvFilter } from "@everlong/kernels";
import { normal, Random, relativeError } from "@everlong/testing";
import { EmulatingDevice } from "./emulating-device.ts";

interface Case {
  readonly layout: "bdl" | "bld";
  /** Sequences, channels, their length and that of filters. */
  readonly sizes: readonly [number, number, number, number];
  readonly gated?: boolean;
  readonly skip?: boolean;
}

const CASES: readonly Case[] = [
  { layout: "bdl", sizes: [3, 2, 5, 5] },
  { layout: "bld", sizes: [5, 9, 8, 3], gated: true, skip: true },
  { layout: "bdl", sizes: [2, 3, 17, 17], gated: true },
  { layout: "bld", sizes: [3, 2, 255, 255], skip: true },
  { layout: "bdl", sizes: [4, 3, 300, 299], gated: true, skip: true },
  { layout: "bdl", sizes: [3, 1, 1536, 1536] },
  { layout: "bdl", sizes: [1, 2, 1025, 1025], skip: true },
  { layout: "bld", sizes: [2, 1, 6000, 5000], gated: true },
  // Three passes over memory; the filter's gradient goes through the FFT primitive.
  { layout: "bdl", sizes: [2, 1, 12_000, 12_000], skip: true },
  // Two sequences are one transform, as ever.
  { layout: "bdl", sizes: [3, 2, 256, 200], gated: true, skip: true },
];

describe.skipIf(spawnSync("g++", ["--version"]).status !== 0)("circular convolutions", () => {
  const folder = mkdtempSync(join(tmpdir(), "everlong-circular-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(CASES)(
    "$sizes $layout",
    async ({ layout, sizes: [batch, channels, length, taps], gated, skip }) => {
      const random = new Random(length + taps);
      const axes = (first: number[], n: number): number[] =>
        layout === "bdl" ? [...first, channels, n] : [...first, n, channels];
      const sequence = axes([batch], length);
      const shapes = [sequence, axes([], taps), [channels], sequence, sequence, sequence];
      const values = shapes.map((s) =>
        Float32Array.from({ length: s.reduce((a, b) => a * b, 1) }, () => normal(random, 0)),
      );
      const results = (on: Device, dtype: "f32" | "f64"): Promise<ArrayLike<number>[]> =>
        withDevice(on, async () => {
          const [u, k, c, preGate, postGate, dy] = values.map((v, i) => tensor(v, shapes[i]!, { dtype }));
          const filters = { mode: "circular", layout, ...(skip ? { skip: c! } : {}) } as const;
          const gates = gated ? { preGate: preGate!, postGate: postGate! } : {};
          const y = fftConv(u!, k!, { ...filters, ...gates });
          const wanted = [u!, k!, ...(skip ? [c!] : []), ...(gated ? [preGate!, postGate!] : [])];
          const kept = fftConv(u!, fftConvFilter(k!, length, filters), gates);
          const all = [y, kept, ...gradients(sum(mul(y, dy!)), wanted)];
          const out: ArrayLike<number>[] = [];
          for (const t of all) out.push(await t.data());
          return out;
        });
      const device = new EmulatingDevice(folder);
      const [got, want] = [await results(device, "f32"), await results(openDevice("reference"), "f64")];
      const entries = [...device.kernels.values()].map(({ entry }) => entry);
      const long = length > 8192;
      for (const entry of long
        ? ["filter_columns", "rows", "columns_back"]
        : ["spectrum", "convolve", "filter_gradient"])
        expect(entries).toContain(entry);
      expect(entries.some((entry) => entry.startsWith("fft"))).toBe(long);
      expect(device.launches).toBeGreaterThanOrEqual(long ? 15 : 7);
      want.forEach((w, i) => expect(relativeError(got[i]!, w), `result ${i}`).toBeLessThan(1e-6));
    },
  );
});
