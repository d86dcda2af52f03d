import { expect, test } from "vitest";
import { contiguousView, type PrimitiveStep, type StepOperand } from "@everlong/core";
import { H100, type CudaStep } from "@everlong/kernels/cuda";
import { beyondLimits } from "./launch-limits.ts";
import { lower } from "./lowering.ts";

const launch = (over: Partial<CudaStep>): CudaStep => ({
  kernel: { key: "probe", entry: "probe", source: () => "" },
  args: [{ input: 0 }],
  grid: [1, 1, 1],
  block: [256, 1, 1],
  ...over,
});

test.each<[string, Partial<CudaStep>, RegExp | undefined]>([
  ["the largest grid", { grid: [2 ** 31 - 1, 65_535, 65_535] }, undefined],
  ["too many blocks down", { grid: [1, 65_536, 1] }, /^probe needs 1 x 65536 x 1 blocks/],
  ["too many planes", { grid: [1, 1, 65_536] }, /^probe needs 1 x 1 x 65536 blocks/],
  ["too many blocks across", { grid: [2 ** 31, 1, 1] }, /blocks, a launch has 1 to 2147483647 x 65535/],
  ["no blocks", { grid: [0, 1, 1] }, /0 x 1 x 1 blocks/],
  ["blocks that are no number", { grid: [Number.NaN, 1, 1] }, /NaN x 1 x 1 blocks/],
  ["a large block", { block: [64, 17, 1] }, /blocks of 1088 threads/],
  ["all shared memory", { sharedBytes: H100.sharedLimit }, undefined],
  [
    "too much shared memory",
    { sharedBytes: 232_449 },
    /232449 bytes of shared memory a block, the GPU has 232448/,
  ],
  ["all parameters", { args: Array.from({ length: 512 }, () => 0) }, undefined],
  [
    "too many parameters",
    { args: Array.from({ length: 513 }, () => 0) },
    /513 words of parameters, a launch has 512/,
  ],
  [
    "too many tile maps",
    {
      args: Array.from({ length: 33 }, () => ({
        input: 0,
        map: { dtype: "f16", sizes: [64, 64], strides: [128], box: [64, 64] } as const,
      })),
    },
    /528 words/,
  ],
])("%s", (_, over, reason) => {
  const answer = beyondLimits([launch({}), launch(over)], H100);
  if (reason) expect(answer).toMatch(reason);
  else expect(answer).toBeUndefined();
});

function fourier(lines: number, points: number): PrimitiveStep {
  const operand = (buffer: number): StepOperand => ({
    buffer,
    dtype: "f32",
    view: contiguousView([lines, points]),
  });
  return {
    kind: "primitive",
    primitive: { name: "fft", params: { inverse: false } },
    inputs: [operand(0), operand(1)],
    outputs: [operand(2), operand(3)],
  } as unknown as PrimitiveStep;
}

test("a step with a launch beyond the limits is refused when it is lowered", () => {
  expect(lower(fourier(2 ** 32, 8192), H100)).toMatch(/^fft needs 4294967296 x 1 x 1 blocks/);
  expect(typeof lower(fourier(2 ** 30, 8192), H100)).toBe("object");
});

test.each([
  [
    [100_000, 4, 4],
    [100_000, 4, 4],
  ],
  [
    [5_000_000, 8],
    [8, 8],
  ],
  [
    [70_000, 1, 8],
    [70_000, 8, 1],
  ],
])("a product of %j and %j has launches within the limits", (left, right) => {
  const operand = (buffer: number, shape: readonly number[]): StepOperand => ({
    buffer,
    dtype: "f32",
    view: contiguousView(shape),
  });
  const lowered = lower(
    {
      kind: "primitive",
      primitive: { name: "matmul", params: {} },
      inputs: [operand(0, left), operand(1, right)],
      outputs: [operand(2, [...left.slice(0, -1), right.at(-1)!])],
    },
    H100,
  );
  if (typeof lowered === "string") throw new Error(lowered);
  const own = lowered.steps.flatMap((s) => ("library" in s ? s.otherwise : [s]));
  expect(own).toHaveLength(1);
  expect(beyondLimits(own, H100)).toBeUndefined();
});

test("a sort of billions of pairs has launches within the limits", () => {
  const operand = (buffer: number, dtype: "bf16" | "i32"): StepOperand => ({
    buffer,
    dtype,
    view: contiguousView([3e9, 2]),
  });
  const lowered = lower(
    {
      kind: "primitive",
      primitive: { name: "sort", params: { axis: 1, descending: false } },
      inputs: [operand(0, "bf16")],
      outputs: [operand(1, "bf16"), operand(2, "i32")],
    },
    H100,
  );
  if (typeof lowered === "string") throw new Error(lowered);
  expect((lowered.steps[0] as CudaStep).grid).toEqual([2 ** 31 - 1, 2, 1]);
});

// What blocks have from sm_86 and sm_89 on is 99 KiB.
test.each([101_376, 166_912, 232_448])(
  "Fourier transforms need no more than %i bytes of a block",
  (sharedLimit) => {
    for (const points of [2, 7, 1024, 3000, 4096, 4099, 8192, 10_007, 16_384, 65_536, 1_000_000, 2 ** 22])
      for (const lines of [1, 3, 1000]) {
        const lowered = lower(fourier(lines, points), { ...H100, sharedLimit });
        if (typeof lowered === "string") throw new Error(`${points}: ${lowered}`);
        for (const step of lowered.steps)
          expect((step as CudaStep).sharedBytes ?? 0).toBeLessThanOrEqual(sharedLimit);
      }
  },
);
