import {
  COMPARE_FNS,
  isFloat,
  sizeOf,
  type DType,
  type Instruction,
  type LoopStep,
  type StepOperand,
  type TypedArray,
} from "@everlong/core";
import { assert, asyncProperty, integer } from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { cpuDevice } from "./cpu.ts";
import {
  compareWithReference,
  load,
  packed,
  packedLoop,
  programOf,
  randomSource,
  randomStorage,
  randomView,
  runProgram,
  runs,
  wideDevice,
  type BufferDraft,
} from "./step-harness.ts";

const cpu = cpuDevice({ threads: 1, poison: true });
const two = cpuDevice({ threads: 2, poison: true });
const wide = wideDevice();
afterAll(() => two.dispose());

const ALL: readonly DType[] = ["f32", "f16", "bf16", "i32", "u8", "bool"];

/** Worst error on single vectors and, for one length, on optimised pairs. */
async function errorOfLoop(step: LoopStep, data: readonly TypedArray[], floor?: number): Promise<number> {
  const inputs = step.args.map((a, i): BufferDraft => ({ dtype: a.dtype, length: data[i]!.length }));
  const outputs = step.outputs.map((o): BufferDraft => ({
    dtype: o.operand.dtype,
    length: sizeOf(step.shape),
  }));
  const program = programOf(inputs, outputs, [step]);
  await runProgram(wide, program, data);
  return Math.max(
    await compareWithReference(cpu, program, data, floor),
    await compareWithReference(wide, program, data, floor),
  );
}
/** A random loop over random views of buffers of their own. */
function randomLoop(seed: number): {
  step: LoopStep;
  inputs: BufferDraft[];
  outputs: BufferDraft[];
  data: TypedArray[];
} {
  const random = randomSource(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const shape = Array.from({ length: 1 + Math.floor(random() * 4) }, () =>
    pick([1, 2, 3, 4, 5, 7, 8, 9, 16, 33, 70]),
  );
  while (sizeOf(shape) > 40_000) shape[shape.findIndex((n) => n > 5)] = 3;
  const inputs: BufferDraft[] = [];
  const args: StepOperand[] = [];
  const code: Instruction[] = [];
  const byKind: { [K in "float" | "int" | "bool"]: number[] } = { float: [], int: [], bool: [] };
  const kindOf = (d: DType): "float" | "int" | "bool" =>
    isFloat(d) ? "float" : d === "bool" ? "bool" : "int";
  const push = (i: Instruction): void => void byKind[kindOf(i.dtype)].push(code.push(i) - 1);
  for (let i = 0; i < 1 + Math.floor(random() * 3); i++) {
    const dtype = pick(ALL);
    const { view, length } = randomView(shape, random);
    inputs.push({ dtype, length });
    args.push({ buffer: i, dtype, view });
    push(load(i, dtype));
    if (dtype !== "f32") push({ op: "cast", dtype: "f32", from: dtype, a: code.length - 1 });
    if (dtype === "u8") push({ op: "cast", dtype: "i32", from: dtype, a: code.length - 2 });
  }
  push({ op: "const", dtype: "f32", value: random() * 4 - 2 });
  push({ op: "const", dtype: "i32", value: Math.floor(random() * 9) });
  push({ op: "iota", dtype: "i32", axis: Math.floor(random() * shape.length), scale: 1, start: 0 });
  const floats = (): number => pick(byKind.float.filter((i) => code[i]!.dtype === "f32"));
  const ints = (): number => pick(byKind.int.filter((i) => code[i]!.dtype === "i32"));
  for (let i = 0; i < 1 + Math.floor(random() * 6); i++) {
    const kind = random();
    if (kind < 0.4)
      push({
        op: "binary",
        dtype: "f32",
        fn: pick(["add", "sub", "mul", "max", "min"] as const),
        a: floats(),
        b: floats(),
      });
    else if (kind < 0.5)
      push({
        op: "unary",
        dtype: "f32",
        fn: pick(["tanh", "sigmoid", "abs", "neg", "erf"] as const),
        a: floats(),
      });
    else if (kind < 0.65)
      push({
        op: "binary",
        dtype: "i32",
        fn: pick(["add", "mul", "and", "xor", "shl", "shr", "div", "mod"] as const),
        a: ints(),
        b: ints(),
      });
    else if (kind < 0.8)
      push({ op: "compare", dtype: "bool", of: "i32", fn: pick(COMPARE_FNS), a: ints(), b: ints() });
    else if (byKind.bool.length > 0)
      push({ op: "select", dtype: "f32", a: pick(byKind.bool), b: floats(), c: floats() });
  }
  const outputs: BufferDraft[] = [];
  const values = [code.length - 1, Math.floor(random() * code.length)].slice(0, 1 + Math.floor(random() * 2));
  const stepOutputs = values.map((value, i) => {
    const { dtype } = code[value]!;
    const { view } = randomView(shape, () => 0.99, false);
    outputs.push({ dtype, length: sizeOf(shape) });
    return { operand: { buffer: inputs.length + i, dtype, view: { ...view, offset: 0 } }, value };
  });
  return {
    step: { kind: "loop", shape, args, code, outputs: stepOutputs },
    inputs,
    outputs,
    data: inputs.map((b) => randomStorage(b.dtype, b.length, random)),
  };
}

test("random loops over random views agree with the reference, and on two threads bit for bit", async () => {
  await assert(
    asyncProperty(integer({ min: 1, max: 1e9 }), async (seed) => {
      const { step, inputs, outputs, data } = randomLoop(seed);
      const program = programOf(inputs, outputs, [step]);
      expect(await compareWithReference(cpu, program, data, 0.1)).toBeLessThan(40);
      const [one, other] = [await runProgram(cpu, program, data), await runProgram(two, program, data)];
      expect(other).toEqual(one);
      // The second run is optimised code.
      await runProgram(wide, program, data);
      expect(await runProgram(wide, program, data)).toEqual(one);
    }),
    runs(60),
  );
});

describe("transposed and strided copies", () => {
  for (const dtype of ["f32", "bf16", "u8"] as const) {
    test(dtype, async () => {
      for (const [rows, columns] of [
        [5, 7],
        [64, 64],
        [130, 67],
        [3, 1000],
        [1000, 3],
      ] as const) {
        const step: LoopStep = {
          kind: "loop",
          shape: [2, rows, columns],
          args: [
            {
              buffer: 0,
              dtype,
              view: { shape: [2, rows, columns], strides: [rows * columns, 1, rows], offset: 0 },
            },
          ],
          code: [load(0, dtype)],
          outputs: [{ operand: packed(1, [2, rows, columns], dtype), value: 0 }],
        };
        const data = randomStorage(dtype, 2 * rows * columns, randomSource(9));
        expect(await errorOfLoop(step, [data], 0)).toBe(0);
      }
    });
  }
  test("an output with gaps leaves the gaps alone", async () => {
    // Two interleaved halves written by two steps; every element must arrive.
    const half = (offset: number, buffer: number): LoopStep => ({
      kind: "loop",
      shape: [37],
      args: [packed(buffer, [37])],
      code: [load(0, "f32")],
      outputs: [
        { operand: { buffer: 2, dtype: "f32", view: { shape: [37], strides: [2], offset } }, value: 0 },
      ],
    });
    const drafts = [
      { dtype: "f32", length: 37 },
      { dtype: "f32", length: 37 },
    ] as const;
    const program = programOf(drafts, [{ dtype: "f32", length: 74 }], [half(0, 0), half(1, 1)]);
    const data = [1, 2].map((s) => randomStorage("f32", 37, randomSource(s)));
    expect(await compareWithReference(cpu, program, data)).toBe(0);
  });
});

test("two hundred lengths share the kernels of a few", async () => {
  const fresh = cpuDevice({ threads: 1 });
  const random = randomSource(11);
  for (let i = 0; i < 200; i++) {
    const n = 1 + Math.floor(random() * 3000);
    const code: Instruction[] = [
      load(0, "f32"),
      { op: "const", dtype: "f32", value: 1 / n },
      { op: "binary", dtype: "f32", fn: "mul", a: 0, b: 1 },
    ];
    const step = packedLoop([n], ["f32"], code);
    await runProgram(fresh, programOf([{ dtype: "f32", length: n }], [{ dtype: "f32", length: n }], [step]), [
      new Float32Array(n),
    ]);
  }
  expect(fresh.stats.kernels).toBe(1);
});
