import { expect, test } from "vitest";
import type { BufferSpec, Program } from "../device.ts";
import { doesNotFit, peakBytes } from "./program-memory.ts";

const buffer = (bytes: number, role: BufferSpec["role"]): BufferSpec => ({ bytes, dtype: "f32", role });

/** Two inputs, of which the first becomes output 1. */
const program: Program = {
  buffers: [
    buffer(4000, { kind: "input", index: 0 }),
    buffer(400, { kind: "input", index: 1 }),
    buffer(4000, { kind: "output", index: 1 }),
    buffer(40, { kind: "output", index: 0 }),
    buffer(4, { kind: "constant", data: new Float32Array(1) }),
    buffer(8000, { kind: "temp", offset: 0 }),
    buffer(8000, { kind: "temp", offset: 512 }),
  ],
  steps: [],
  arenaBytes: 8512,
  inputs: 2,
  outputs: 2,
  sites: [],
  donated: [undefined, 0],
};

test("memory that an output takes over is held once, and that of temporaries as they lie", () => {
  expect(peakBytes(program)).toBe(4000 + 400 + 40 + 4 + 8512);
  expect(peakBytes(program, 9000)).toBe(4000 + 400 + 40 + 4 + 9000);
  expect(peakBytes(program, 0, (bytes) => 512 * Math.ceil(bytes / 512))).toBe(4096 + 3 * 512);
});

test("the largest are named, buffers and what kernels of steps need", () => {
  const scratch = [
    { name: "small step", bytes: 300 },
    { name: "large step", bytes: 7000 },
  ];
  expect(doesNotFit("probe", program, 6000, { peak: 21_000, scratch }).message).toBe(
    "[probe] the program does not fit the device's memory: expected at most 5.86 KiB, got a peak of 20.51 KiB; largest: temp f32[2000] 7.81 KiB, temp f32[2000] 7.81 KiB, scratch of large step 6.84 KiB. Use a smaller batch, or recompute() for long chains.",
  );
});
