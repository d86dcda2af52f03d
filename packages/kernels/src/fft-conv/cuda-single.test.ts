import { expect, test } from "vitest";
import type { CudaLowering, CudaStep, CudaView } from "../cuda-step.ts";
import { A100, denseView } from "../cuda-targets.ts";
import { fftConvCuda, fftConvFilterGradCuda } from "./cuda.ts";

const view = (...shape: readonly number[]): CudaView => denseView("f32", ...shape);

const values = (length: number, taps: number): CudaLowering | string =>
  fftConvCuda.lower(
    {
      inputs: [view(3, 2, length), view(2, taps)],
      outputs: [view(3, 2, length)],
      params: { layout: "bdl", circular: true, origin: 0, adjoint: false, inputs: ["u", "k"] },
    },
    A100,
  );
const gradient = (length: number): CudaLowering | string =>
  fftConvFilterGradCuda.lower(
    {
      inputs: [view(3, 2, length), view(3, 2, length)],
      outputs: [view(2, length)],
      params: { layout: "bdl", circular: true, origin: 0, taps: length, inputs: ["u", "dy"] },
    },
    A100,
  );
/** Points of a launch, whether it has two sequences in one transform, and whether its filters wrap around. */
const kinds = (lowered: CudaLowering | string): unknown[] =>
  (lowered as CudaLowering).steps.map((s) => {
    const { entry, key } = (s as CudaStep).kernel;
    return [entry, Number(/POINTS (\d+)/.exec(key)![1]), key.includes("CIRCULAR 1"), key.includes("WRAPS")];
  });

test("circular convolutions of any length are transforms of the next power of two", () => {
  for (const [length, points, exact] of [
    [5, 16, false],
    [16, 16, true],
    [300, 512, false],
    [4096, 4096, true],
    [8191, 8192, false],
  ] as const) {
    const found = values(length, length) as CudaLowering;
    expect(kinds(found)).toEqual([
      ["spectrum", points, exact, !exact],
      ["convolve", points, exact, false],
    ]);
    // Where tap 0 stands: at lag 0, or a period before.
    expect((found.steps[0] as CudaStep).args[5]).toBe(exact ? 0 : length);
    expect(kinds(gradient(length))).toEqual([["filter_gradient", points, exact, !exact]]);
  }
  expect(kinds(values(12_000, 77))).toEqual([
    ["filter_columns", 8192, false, true],
    ["filter_rows", 8192, false, false],
    ["columns", 8192, false, false],
    ["rows", 8192, false, false],
    ["columns_back", 8192, false, false],
  ]);
  expect(gradient(12_000)).toBe("no kernel for sequences of 12000");
  expect(values(131_073, 9)).toMatch(/^sequences of 131073 need a transform longer than 131072$/);
});
