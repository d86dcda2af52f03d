import {
  isFloat,
  sizeOf,
  type DType,
  type Instruction,
  type ReduceFn,
  type ReduceStep,
} from "@everlong/core";
import { assert, asyncProperty, integer } from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { cpuDevice } from "./cpu.ts";
import {
  compareWithReference,
  packed,
  programOf,
  randomSource,
  randomStorage,
  randomView,
  runProgram,
  runs,
  wideDevice,
} from "./step-harness.ts";

const cpu = cpuDevice({ threads: 1, poison: true });
const two = cpuDevice({ threads: 2, poison: true });
const wide = wideDevice();
afterAll(() => two.dispose());

const ALL: readonly DType[] = ["f32", "f16", "bf16", "i32", "u8", "bool"];
const FNS: readonly ReduceFn[] = ["sum", "prod", "max", "min"];

function reduceOf(shape: readonly number[], axes: readonly number[], fn: ReduceFn, dtype: DType): ReduceStep {
  const kept = shape.filter((_, i) => !axes.includes(i));
  return {
    kind: "reduce",
    shape,
    axes,
    fn,
    args: [packed(0, shape, dtype)],
    code: [{ op: "load", dtype, arg: 0 }],
    output: packed(1, kept, dtype),
  };
}

const programFor = (step: ReduceStep, lengths: readonly number[] = [sizeOf(step.shape)]) =>
  programOf(
    step.args.map((a, i) => ({ dtype: a.dtype, length: lengths[i]! })),
    [{ dtype: step.output.dtype, length: sizeOf(step.output.view.shape) }],
    [step],
  );

describe("every function and dtype, along any axes", () => {
  const cases: readonly (readonly [readonly number[], readonly number[]])[] = [
    [[1], [0]],
    [[3], [0]],
    [[63], [0]],
    [[1000], [0]],
    [[5, 100], [1]],
    [[100, 5], [0]],
    [[100, 5], [1]],
    [[37, 63], [0]],
    [
      [7, 9, 11],
      [0, 2],
    ],
    [[7, 9, 11], [1]],
    [
      [3, 4, 5, 6],
      [0, 1, 2, 3],
    ],
    [[2, 1, 33], [1]],
    [[4, 0, 3], [1]],
    [[0, 3], [1]],
  ];
  for (const fn of FNS) {
    for (const dtype of ALL) {
      if (dtype === "bool" && (fn === "sum" || fn === "prod")) continue;
      test(`${fn} of ${dtype}`, async () => {
        for (const [shape, axes] of cases) {
          if ((fn === "max" || fn === "min") && shape.includes(0)) continue;
          const data = randomStorage(dtype, sizeOf(shape), randomSource(shape.length), 1.2);
          const step = reduceOf(shape, axes, fn, dtype);
          expect(
            await compareWithReference(cpu, programFor(step), [data], 1),
            `${shape.join()} over ${axes.join()}`,
          ).toBeLessThan(dtype === "f32" ? 60 : isFloat(dtype) ? 1.01 : 1);
        }
      });
    }
  }
});

test("NaN wins in max and min, wherever it stands", async () => {
  for (const n of [5, 8, 77, 5000]) {
    for (const at of [0, 3, n - 1]) {
      for (const fn of ["max", "min"] as const) {
        const data = randomStorage("f32", n, randomSource(n));
        data[at] = NaN;
        const [out] = await runProgram(cpu, programFor(reduceOf([n], [0], fn, "f32")), [data]);
        expect(out![0]).toBeNaN();
      }
    }
  }
});

test("ten million numbers add up to a relative 1e-6, in rows and columns", async () => {
  const n = 10_000_019;
  const random = randomSource(5);
  const data = Float32Array.from({ length: n }, () => random());
  let exact = 0;
  for (const x of data) exact += x;
  const [out] = await runProgram(cpu, programFor(reduceOf([n], [0], "sum", "f32")), [data]);
  expect(Math.abs(out![0]! / exact - 1)).toBeLessThan(3e-7);
  const rows = 500_000;
  const [columns] = await runProgram(cpu, programFor(reduceOf([rows, 20], [0], "sum", "f32"), [n]), [data]);
  for (let c = 0; c < 20; c++) {
    let sum = 0;
    for (let r = 0; r < rows; r++) sum += data[r * 20 + c]!;
    expect(Math.abs(columns![c]! / sum - 1)).toBeLessThan(1e-6);
  }
});

test("threads do not change a bit", async () => {
  const random = randomSource(8);
  for (const [shape, axes] of [
    [[300_001], [0]],
    [[200_003, 3], [0]],
    [[5000, 130], [0]],
    [[130, 5000], [1]],
    [
      [40, 50, 200],
      [0, 2],
    ],
  ] as const) {
    const data = randomStorage("f32", sizeOf(shape), random);
    const program = programFor(reduceOf(shape, axes, "sum", "f32"));
    expect(await runProgram(two, program, [data])).toEqual(await runProgram(cpu, program, [data]));
  }
});

test("random views, code and axes agree with the reference", async () => {
  await assert(
    asyncProperty(integer({ min: 1, max: 1e9 }), async (seed) => {
      const random = randomSource(seed);
      const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
      const shape = Array.from({ length: 1 + Math.floor(random() * 4) }, () =>
        pick([1, 2, 3, 5, 8, 9, 17, 40, 130]),
      );
      while (sizeOf(shape) > 60_000) shape[shape.findIndex((n) => n > 5)] = 3;
      const axes = shape.map((_, i) => i).filter(() => random() < 0.5);
      if (axes.length === 0) axes.push(0);
      const [a, b] = [randomView(shape, random), randomView(shape, random)];
      const dtypes = [pick(ALL), pick(["f32", "bf16"] as const)] as const;
      const code: Instruction[] = [
        { op: "load", dtype: dtypes[0], arg: 0 },
        { op: "cast", dtype: "f32", from: dtypes[0], a: 0 },
        { op: "load", dtype: dtypes[1], arg: 1 },
        { op: "cast", dtype: "f32", from: dtypes[1], a: 2 },
        { op: "binary", dtype: "f32", fn: pick(["add", "mul", "max"] as const), a: 1, b: 3 },
        { op: "iota", dtype: "f32", axis: Math.floor(random() * shape.length), scale: 0.125, start: -1 },
        { op: "binary", dtype: "f32", fn: "add", a: 4, b: 5 },
      ];
      if (random() < 0.3) code.push({ op: "unary", dtype: "f32", fn: "tanh", a: 6 });
      const kept = shape.filter((_, i) => !axes.includes(i));
      const step: ReduceStep = {
        kind: "reduce",
        shape,
        axes,
        fn: pick(["sum", "max", "min"] as const),
        args: [
          { buffer: 0, dtype: dtypes[0], view: a.view },
          { buffer: 1, dtype: dtypes[1], view: b.view },
        ],
        code,
        output: { buffer: 2, dtype: "f32", view: { ...randomView(kept, () => 0.99, false).view, offset: 0 } },
      };
      const data = [a, b].map((v, i) => randomStorage(dtypes[i]!, v.length, random));
      const program = programFor(step, [a.length, b.length]);
      // Sums of a few hundred values of both signs: errors are measured against their typical size.
      expect(await compareWithReference(cpu, program, data, 200)).toBeLessThan(60);
      const one = await runProgram(cpu, program, data);
      expect(await runProgram(two, program, data)).toEqual(one);
      // Neither does the width: the second run is optimised code in pairs.
      await runProgram(wide, program, data);
      expect(await runProgram(wide, program, data)).toEqual(one);
    }),
    runs(50),
  );
});
