import {
  contiguousView,
  sizeOf,
  type DType,
  type PrimitiveStep,
  type Program,
  type TypedArray,
} from "@everlong/core";
import { assert, asyncProperty, integer } from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { cpuDevice } from "../cpu.ts";
import {
  compareWithReference,
  packed,
  programOf,
  randomSource,
  randomStorage,
  randomView,
  runProgram,
  runs,
  storageOf,
  wideDevice,
} from "../step-harness.ts";

const cpu = cpuDevice({ threads: 1, poison: true });
const two = cpuDevice({ threads: 2, poison: true });
const wide = wideDevice();
afterAll(() => two.dispose());

type Shape = readonly number[];
interface Given {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data?: TypedArray;
}

/** A program of one primitive; inputs get random views when `random` is given. */
function primitiveProgram(
  primitive: PrimitiveStep["primitive"],
  inputs: readonly Given[],
  outputs: readonly Given[],
  random: () => number,
  strided: boolean,
): { program: Program; data: TypedArray[] } {
  const views = inputs.map(({ shape, data }) =>
    strided && !data
      ? randomView(shape, random, false)
      : { view: contiguousView(shape), length: sizeOf(shape) },
  );
  const program = programOf(
    inputs.map((g, i) => ({ dtype: g.dtype, length: views[i]!.length })),
    outputs.map((g) => ({ dtype: g.dtype, length: sizeOf(g.shape) })),
    [
      {
        kind: "primitive",
        primitive,
        inputs: inputs.map((g, i) => ({ buffer: i, dtype: g.dtype, view: views[i]!.view })),
        outputs: outputs.map((g, i) => packed(inputs.length + i, g.shape, g.dtype)),
      },
    ],
  );
  const data = inputs.map((g, i) => g.data ?? randomStorage(g.dtype, views[i]!.length, random));
  return { program, data };
}

async function check(
  { program, data }: { program: Program; data: TypedArray[] },
  limit: number,
  floor = 1,
): Promise<void> {
  expect(await compareWithReference(cpu, program, data, floor)).toBeLessThanOrEqual(limit);
  const one = await runProgram(cpu, program, data);
  expect(await runProgram(two, program, data)).toEqual(one);
  await runProgram(wide, program, data);
  expect(await compareWithReference(wide, program, data, floor)).toBeLessThanOrEqual(limit);
}

const ALL: readonly DType[] = ["f32", "f16", "bf16", "i32", "u8", "bool"];
const SIZES = [1, 2, 3, 5, 8, 9, 17, 33];
const seeds = integer({ min: 1, max: 1e9 });

function randomShape(random: () => number): { shape: number[]; axis: number } {
  const shape = Array.from(
    { length: 1 + Math.floor(random() * 3) },
    () => SIZES[Math.floor(random() * SIZES.length)]!,
  );
  return { shape, axis: Math.floor(random() * shape.length) };
}
const pick = <T>(list: readonly T[], random: () => number): T => list[Math.floor(random() * list.length)]!;
const replaced = (shape: Shape, axis: number, n: number): number[] =>
  shape.map((m, i) => (i === axis ? n : m));

test("random bits are the stream of the reference, whatever the length", async () => {
  for (const n of [1, 2, 3, 7, 8, 31, 1000, 20_001]) {
    const key = storageOf("i32", [n * 977, -5]);
    const given = primitiveProgram(
      { name: "randomBits", params: { shape: [n] } },
      [{ dtype: "i32", shape: [2], data: key }],
      [{ dtype: "i32", shape: [n] }],
      randomSource(1),
      false,
    );
    await check(given, 0);
    const one = await runProgram(cpu, given.program, given.data);
    expect(await runProgram(wide, given.program, given.data)).toEqual(one);
  }
});

test("gather clamps and picks, along any axis and view", async () => {
  await assert(
    asyncProperty(seeds, async (seed) => {
      const random = randomSource(seed);
      const { shape, axis } = randomShape(random);
      const dtype = pick(ALL, random);
      const picks = replaced(shape, axis, pick(SIZES, random));
      const n = shape[axis]!;
      const indices = storageOf(
        "i32",
        Array.from({ length: sizeOf(picks) }, () => Math.floor(random() * (n + 4)) - 2),
      );
      const x = { dtype, shape };
      const given = primitiveProgram(
        { name: "gather", params: { axis } },
        [x, { dtype: "i32", shape: picks, data: indices }],
        [{ dtype, shape: picks }],
        random,
        random() < 0.5,
      );
      // Half of the time one index serves a whole row, as in an embedding.
      if (random() < 0.5) {
        const operand = given.program.steps[0] as PrimitiveStep;
        const strides = picks.map((_, a) => (a === axis ? 1 : 0));
        Object.assign(operand.inputs[1]!, { view: { shape: picks, strides, offset: 0 } });
      }
      await check(given, 0);
    }),
    runs(30),
  );
});

test("scatter writes and adds in order, and drops what is out of range", async () => {
  await assert(
    asyncProperty(seeds, async (seed) => {
      const random = randomSource(seed);
      const { shape, axis } = randomShape(random);
      const mode = pick(["add", "set"] as const, random);
      const dtype = pick(mode === "add" ? ALL.slice(0, 5) : ALL, random);
      const updates = replaced(shape, axis, pick(SIZES, random));
      const n = shape[axis]!;
      const row = random() < 0.5;
      const indices = storageOf(
        "i32",
        Array.from({ length: sizeOf(updates) }, () => Math.floor(random() * (n + 4)) - 2),
      );
      const given = primitiveProgram(
        { name: "scatter", params: { axis, mode } },
        [
          { dtype, shape },
          { dtype: "i32", shape: updates, data: indices },
          { dtype, shape: updates },
        ],
        [{ dtype, shape }],
        random,
        random() < 0.5,
      );
      if (row) {
        const strides = updates.map((_, a) => (a === axis ? 1 : 0));
        Object.assign((given.program.steps[0] as PrimitiveStep).inputs[1]!, {
          view: { shape: updates, strides, offset: 0 },
        });
      }
      await check(given, dtype === "f32" ? 20 : 1.01);
    }),
    runs(30),
  );
});

test("running reductions agree, forwards and from the end", async () => {
  await assert(
    asyncProperty(seeds, async (seed) => {
      const random = randomSource(seed);
      const { shape, axis } = randomShape(random);
      const dtype = pick(ALL.slice(0, 5), random);
      const fn = pick(["sum", "max", "min"] as const, random);
      const given = primitiveProgram(
        { name: "cumulative", params: { fn, axis, reverse: random() < 0.5 } },
        [{ dtype, shape }],
        [{ dtype, shape }],
        random,
        random() < 0.5,
      );
      await check(given, dtype === "f32" ? 30 : 1.01, 4);
    }),
    runs(30),
  );
});

test("arg-reductions find the first extreme, NaN before all", async () => {
  await assert(
    asyncProperty(seeds, async (seed) => {
      const random = randomSource(seed);
      const { shape, axis } = randomShape(random);
      const dtype = pick(ALL, random);
      const values = Array.from({ length: sizeOf(shape) }, () => {
        if (dtype === "bool") return Math.floor(random() * 2);
        const x = Math.floor(random() * 6);
        return dtype !== "i32" && dtype !== "u8" && random() < 0.05 ? NaN : x;
      });
      const given = primitiveProgram(
        { name: "argReduce", params: { fn: pick(["max", "min"] as const, random), axis } },
        [{ dtype, shape, data: storageOf(dtype, values) }],
        [{ dtype: "i32", shape: shape.filter((_, a) => a !== axis) }],
        random,
        false,
      );
      await check(given, 0);
    }),
    runs(30),
  );
});

describe("sorting", () => {
  test("is stable, puts NaN last and takes -0 for 0", async () => {
    await assert(
      asyncProperty(seeds, async (seed) => {
        const random = randomSource(seed);
        const { shape, axis } = randomShape(random);
        const dtype = pick(ALL, random);
        const special = [NaN, -0, 0, Infinity, -Infinity, 1e-40, -1e-40];
        const values = Array.from({ length: sizeOf(shape) }, () => {
          if (dtype === "bool") return Math.floor(random() * 2);
          if (dtype === "u8") return Math.floor(random() * 256);
          if (dtype === "i32") return Math.floor((random() - 0.5) * 2 ** 32) >> Math.floor(random() * 30);
          return random() < 0.3 ? pick(special, random) : Math.round((random() - 0.5) * 40) / 4;
        });
        const given = primitiveProgram(
          { name: "sort", params: { axis, descending: random() < 0.5 } },
          [{ dtype, shape, data: storageOf(dtype, values) }],
          [
            { dtype, shape },
            { dtype: "i32", shape },
          ],
          random,
          false,
        );
        await check(given, 0);
      }),
      runs(50),
    );
  });
  test("takes long lines", async () => {
    const shape = [2, 70_001];
    const given = primitiveProgram(
      { name: "sort", params: { axis: 1, descending: false } },
      [{ dtype: "f32", shape }],
      [
        { dtype: "f32", shape },
        { dtype: "i32", shape },
      ],
      randomSource(4),
      false,
    );
    await check(given, 0);
  });
});

test("matrix products take strided and half-float operands", async () => {
  await assert(
    asyncProperty(seeds, async (seed) => {
      const random = randomSource(seed);
      const size = (): number => pick([...SIZES, 64, 100], random);
      const [m, k, n] = [size(), size(), size()];
      const batch = random() < 0.5 ? [] : [2, 3].slice(0, 1 + Math.floor(random() * 2));
      const dtype = pick(["f32", "f32", "bf16", "f16"] as const, random);
      const given = primitiveProgram(
        { name: "matmul", params: {} },
        [
          { dtype, shape: [...batch, m, k] },
          { dtype, shape: [...batch, k, n] },
        ],
        [{ dtype, shape: [...batch, m, n] }],
        random,
        random() < 0.7,
      );
      // Sums of k products of numbers around 2.
      await check(given, dtype === "f32" ? 20 : 1.01, 4 * Math.sqrt(k));
    }),
    runs(30),
  );
});

test("transforms of any length agree, forwards and back", async () => {
  const lengths = [
    1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 15, 16, 25, 31, 32, 49, 60, 64, 97, 100, 128, 127, 240, 251, 1000,
    1024, 1009,
  ];
  for (const n of lengths) {
    for (const rows of [[], [3], [2, 5]]) {
      const shape = [...rows, n];
      const given = primitiveProgram(
        { name: "fft", params: { inverse: n % 2 === 0 } },
        [
          { dtype: "f32", shape },
          { dtype: "f32", shape },
        ],
        [
          { dtype: "f32", shape },
          { dtype: "f32", shape },
        ],
        randomSource(n),
        false,
      );
      // Sums of n random numbers grow with the square root; the chirp costs two more digits' worth of rounding.
      await check(given, 16, 2 * Math.sqrt(n));
    }
  }
});
