import { expect, test } from "vitest";
import { contiguousView, type DType, type StepOperand } from "@everlong/core";
import { H100, cudaSources, type CudaSource, type CudaStep } from "@everlong/kernels/cuda";
import { lowerCall } from "./call.ts";

const operand = (
  buffer: number,
  shape: readonly number[],
  offset: number,
  dtype: DType = "f32",
): StepOperand => ({
  buffer,
  dtype,
  view: { ...contiguousView(shape), offset },
});

/** Lowers to one launch whose words are its first input and output. */
const source = (alignment?: CudaSource<unknown>["alignment"]): CudaSource<unknown> => ({
  ...(alignment ? { alignment } : {}),
  lower: ({ inputs, outputs }) => ({
    steps: [
      {
        kernel: {
          key: `probe ${inputs[0]!.aligned} ${outputs[0]!.aligned}`,
          entry: "probe",
          source: () => "",
        },
        args: [{ input: 0 }, { output: 0, byteOffset: 4 }],
        grid: [1, 1, 1],
        block: [32, 1, 1],
      },
    ],
  }),
});

function launches(of: CudaSource<unknown>, from: number, to: number): { steps: CudaStep[]; temps: number } {
  const call = lowerCall(of as never, {}, [operand(0, [6], from)], [operand(1, [6], to)], H100);
  if (typeof call === "string") throw new Error(call);
  return { steps: call.steps as CudaStep[], temps: call.temps.length };
}

test("operands that start between multiples of the alignment pass through memory that fits", () => {
  const sixteen = source(() => 16);
  const away = launches(sixteen, 3, 5);
  expect(away.steps.map((s) => s.kernel.entry)).toEqual(["loop", "probe", "loop"]);
  expect(away.temps).toBe(2);
  expect(away.steps[1]!.kernel.key).toBe("probe true true");
  expect(away.steps[1]!.args).toEqual([
    { temp: 0, byteOffset: 0 },
    { temp: 1, byteOffset: 4 },
  ]);
  expect(away.steps[0]!.args).toContainEqual({ input: 0, byteOffset: 12 });
  expect(away.steps[2]!.args).toContainEqual({ output: 0, byteOffset: 20 });
});

test("operands that lie well are used where they are", () => {
  const there = launches(
    source(() => 16),
    4,
    8,
  );
  expect(there.steps.map((s) => s.kernel.entry)).toEqual(["probe"]);
  expect(there.steps[0]!.args).toEqual([
    { input: 0, byteOffset: 16 },
    { output: 0, byteOffset: 36 },
  ]);
});

test("a source that asks for nothing is told where operands start", () => {
  const { steps } = launches(source(), 3, 8);
  expect(steps.map((s) => s.kernel.key)).toEqual(["probe false true"]);
});

test("each operand has its own alignment", () => {
  const { steps } = launches(
    source((which) => ("input" in which ? 16 : 1)),
    2,
    2,
  );
  expect(steps.map((s) => s.kernel.entry)).toEqual(["loop", "probe"]);
});

test("a kept spectrum is packed where it starts between multiples of 16 bytes, its sequences are not", () => {
  const params = {
    layout: "bdl",
    circular: true,
    origin: 0,
    taps: 64,
    adjoint: false,
    inputs: ["u", "spectrum"],
  };
  const entries = (u: number, spectrum: number): string[] => {
    const inputs = [operand(0, [2, 3, 64], u), operand(1, [4096], spectrum)];
    const outputs = [operand(2, [2, 3, 64], 0)];
    const call = lowerCall(cudaSources["fft-conv-cached"]!, params, inputs, outputs, H100);
    if (typeof call === "string") throw new Error(call);
    return (call.steps as CudaStep[]).map((s) => s.kernel.entry);
  };
  expect(entries(0, 4)).toEqual(entries(0, 0));
  expect(entries(1, 0)).toEqual(entries(0, 0));
  expect(entries(0, 2)).toEqual(["loop", ...entries(0, 0)]);
});
