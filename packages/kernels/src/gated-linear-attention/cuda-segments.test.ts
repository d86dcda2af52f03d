import { expect, test } from "vitest";
import type { CudaStep, CudaView } from "../cuda-step.ts";
import { denseView, H100 } from "../cuda-targets.ts";
import { segmentCut, type ScanSizes } from "./cuda-segments.ts";
import { linearScanCuda } from "./cuda.ts";

const sizes = (heads: number, time: number, rows: number, columns: number): ScanSizes => ({
  heads,
  time,
  rows,
  columns,
  decay: "rows",
});
const view = (...shape: number[]): CudaView => denseView("f32", ...shape);

/** The launches of a scan with decays of its rows. */
function lowered(
  { heads, time, rows, columns }: ScanSizes,
  processors = 132,
): {
  steps: readonly CudaStep[];
  temps: readonly number[];
} {
  const key = view(1, time, heads, rows);
  const call = {
    inputs: [key, view(1, time, heads, columns), key, key],
    outputs: [view(1, time, heads, columns), view(1, heads, rows, columns)],
    params: { reverse: false, decay: "rows", inputs: ["a", "b", "c", "g"] } as const,
  };
  const answer = linearScanCuda.lower(call, { ...H100, processors });
  if (typeof answer === "string") throw new Error(answer);
  return { steps: answer.steps as CudaStep[], temps: answer.temps ?? [] };
}

test("time is cut where processors idle and the walk is long", () => {
  const longest = [sizes(4, 65_536, 64, 128), sizes(1, 100_001, 33, 65)];
  // As the op's own checks have them, so that these meet the kernels of segments on a GPU.
  const checked = [
    sizes(1, 333, 40, 33),
    sizes(1, 401, 9, 35),
    { ...sizes(2, 350, 16, 21), decay: "none" } as const,
  ];
  for (const few of [...longest, ...checked]) expect(segmentCut(few, 132), JSON.stringify(few)).toBeDefined();
  // Enough blocks, a short walk, and segments that would be shorter than their states.
  for (const whole of [sizes(1024, 128, 16, 16), sizes(4, 100, 64, 128), sizes(1, 300, 192, 32)])
    expect(segmentCut(whole, 132), JSON.stringify(whole)).toBeUndefined();
  expect(segmentCut(sizes(4, 65_536, 64, 128), 8)).toBeUndefined();
});

test.each([
  [4, 65_536, 64, 128],
  [1, 100_001, 33, 65],
  [2, 701, 100, 9],
  [32, 2048, 128, 128],
])("segments of %i heads, %i steps, %i x %i cover time within y's memory", (heads, time, rows, columns) => {
  const call = sizes(heads, time, rows, columns);
  const { segments, steps } = segmentCut(call, 132)!;
  expect(segments * steps).toBeGreaterThanOrEqual(time);
  expect((segments - 1) * steps).toBeLessThan(time);
  expect(steps % 16).toBe(0);
  const [states, carry, outputs] = lowered(call).steps;
  expect(states!.grid[0] / (segments - 1)).toBe(outputs!.grid[0] / segments);
  expect(carry!.grid[0]).toBe(Math.ceil((heads * rows * columns) / 256));
  const [stateBytes, decayBytes] = lowered(call).temps;
  expect(stateBytes).toBe(4 * (segments - 1) * heads * rows * columns);
  expect(stateBytes).toBeLessThanOrEqual(4 * time * heads * columns);
  expect(decayBytes).toBe(4 * (segments - 1) * heads * rows);
});

test("one walk is one launch without memory of its own", () => {
  const { steps, temps } = lowered(sizes(4, 65_536, 64, 128), 8);
  expect(steps.map((s) => [s.kernel.entry, s.grid])).toEqual([["linear_scan", [4, 4, 1]]]);
  expect(temps).toEqual([]);
});
