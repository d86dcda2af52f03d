import {
  BINARY_FNS,
  COMPARE_FNS,
  isFloat,
  sizeOf,
  UNARY_FNS,
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
  packed,
  programOf,
  randomSource,
  randomStorage,
  randomView,
  runProgram,
  runs,
  storageOf,
  wideDevice,
  type BufferDraft,
} from "./step-harness.ts";

const cpu = cpuDevice({ threads: 1, poison: true });
const two = cpuDevice({ threads: 2, poison: true });
const wide = wideDevice();
afterAll(() => two.dispose());

const FLOATS: readonly DType[] = ["f32", "f16", "bf16"];
const INTS: readonly DType[] = ["i32", "u8"];
const ALL: readonly DType[] = [...FLOATS, ...INTS, "bool"];

/** One output from the last instruction, inputs and output packed. */
function packedLoop(
  shape: readonly number[],
  inputs: readonly DType[],
  code: readonly Instruction[],
): LoopStep {
  const dtype = code.at(-1)!.dtype;
  return {
    kind: "loop",
    shape,
    args: inputs.map((d, i) => packed(i, shape, d)),
    code,
    outputs: [{ operand: packed(inputs.length, shape, dtype), value: code.length - 1 }],
  };
}

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

const load = (arg: number, dtype: DType): Instruction => ({ op: "load", dtype, arg });
const POSITIVE = new Set(["log", "sqrt", "rsqrt"]);
const FLOAT_ONLY = new Set("exp expm1 log log1p sqrt rsqrt reciprocal sin cos tanh sigmoid erf".split(" "));

describe("functions", () => {
  for (const fn of UNARY_FNS) {
    for (const dtype of ALL) {
      const known =
        fn === "not" ? !isFloat(dtype) : dtype !== "bool" && (isFloat(dtype) || !FLOAT_ONLY.has(fn));
      if (!known) continue;
      test(`${fn} of ${dtype}`, async () => {
        for (const n of [1, 3, 63, 100, 1000]) {
          let data = randomStorage(dtype, n, randomSource(n), 4);
          if (POSITIVE.has(fn))
            data = storageOf(dtype, Array.from(randomStorage("f32", n, randomSource(n), 4), Math.abs));
          const step = packedLoop([n], [dtype], [load(0, dtype), { op: "unary", dtype, fn, a: 0 }]);
          expect(await errorOfLoop(step, [data])).toBeLessThan(dtype === "f32" ? 6 : 1.01);
        }
      });
    }
  }

  for (const fn of BINARY_FNS) {
    for (const dtype of ALL) {
      const bits = fn === "and" || fn === "or" || fn === "xor";
      const shift = fn === "shl" || fn === "shr";
      if (
        isFloat(dtype)
          ? bits || shift
          : dtype === "bool"
            ? !bits && fn !== "max" && fn !== "min"
            : fn === "atan2"
      )
        continue;
      test(`${fn} of ${dtype}`, async () => {
        for (const n of [1, 3, 63, 100, 1000]) {
          const random = randomSource(n + 7);
          const a = randomStorage(dtype, n, random, 4);
          let b = randomStorage(dtype, n, random, 4);
          if (shift || fn === "pow")
            b = storageOf(
              dtype,
              Array.from(b, (_, i) => (i * 7) % 40),
            );
          if (fn === "pow" && isFloat(dtype))
            b = storageOf(
              dtype,
              Array.from({ length: n }, (_, i) => (i % 9) - 4),
            );
          const step = packedLoop(
            [n],
            [dtype, dtype],
            [load(0, dtype), load(1, dtype), { op: "binary", dtype, fn, a: 0, b: 1 }],
          );
          expect(await errorOfLoop(step, [a, b])).toBeLessThan(dtype === "f32" ? 6 : 1.01);
        }
      });
    }
  }

  const special = [0, -0, 1, -1, 0.5, -2.5, 3, 1e-40, -1e-40, 1e5, -1e5, 1e-20, Infinity, -Infinity, NaN];
  const large = [3e38, -3e38, 2 ** 24 + 2, 2 ** 31, -(2 ** 31), 1e20];
  test("special values of one operand", async () => {
    for (const fn of UNARY_FNS) {
      if (fn === "not") continue;
      const values = fn === "sin" || fn === "cos" ? special : [...special, ...large];
      const step = packedLoop(
        [values.length],
        ["f32"],
        [load(0, "f32"), { op: "unary", dtype: "f32", fn, a: 0 }],
      );
      expect(await errorOfLoop(step, [storageOf("f32", values)], 2 ** -126), fn).toBeLessThan(6);
    }
  });
  test("special values of two operands", async () => {
    const values = [...special, ...large];
    const [a, b] = [values.flatMap((x) => values.map(() => x)), values.flatMap(() => values)];
    const data = [storageOf("f32", a), storageOf("f32", b)];
    for (const fn of BINARY_FNS) {
      if (["and", "or", "xor", "shl", "shr"].includes(fn)) continue;
      const code = [load(0, "f32"), load(1, "f32"), { op: "binary", dtype: "f32", fn, a: 0, b: 1 } as const];
      const step = packedLoop([a.length], ["f32", "f32"], code);
      expect(await errorOfLoop(step, data, 2 ** -126), fn).toBeLessThan(6);
    }
  });

  for (const fn of COMPARE_FNS) {
    test(`${fn} and select`, async () => {
      for (const of of ALL) {
        const random = randomSource(3);
        const a = randomStorage(of, 100, random);
        const b = randomStorage(of, 100, random);
        for (let i = 0; i < 100; i += 3) b[i] = a[i]!;
        if (of === "f32") a[5] = NaN;
        const code: Instruction[] = [
          load(0, of),
          load(1, of),
          { op: "compare", dtype: "bool", of, fn, a: 0, b: 1 },
          { op: "select", dtype: of, a: 2, b: 1, c: 0 },
        ];
        expect(await errorOfLoop(packedLoop([100], [of, of], code), [a, b])).toBe(0);
        expect(await errorOfLoop(packedLoop([100], [of, of], code.slice(0, 3)), [a, b])).toBe(0);
      }
    });
  }
});

describe("casts", () => {
  const edges = [
    0,
    -0,
    1,
    -1,
    0.5,
    1.5,
    2.5,
    -2.5,
    255,
    256,
    300,
    -7.9,
    65504,
    65519.9,
    65520,
    1e9,
    3e9,
    -3e9,
    1e-7,
    6e-8,
    2.98e-8,
    3e-8,
    1e-40,
    33554433,
    16777217,
    0.1,
    3.15,
    Infinity,
    -Infinity,
    NaN,
  ];
  // Halfway between two halves, next to an even and to an odd one.
  edges.push(
    1 + 2 ** -8,
    1 + 3 * 2 ** -8,
    -1 - 3 * 2 ** -8,
    1 + 2 ** -11,
    1 + 3 * 2 ** -11,
    2 ** -25,
    3 * 2 ** -25,
    5 * 2 ** -25,
  );
  for (const from of ALL) {
    for (const to of ALL) {
      test(`${from} to ${to}`, async () => {
        const wide =
          from === "i32" ? [2147483647, -2147483648, 16809985, 16842751, -16842753, 2139095039] : [];
        const data = storageOf(
          from,
          [...edges, ...wide].map((x) =>
            isFloat(from) ? x : from === "bool" ? Number(x > 0) : Math.trunc(x) || 0,
          ),
        );
        const step = packedLoop(
          [data.length],
          [from],
          [load(0, from), { op: "cast", dtype: to, from, a: 0 }],
        );
        expect(await errorOfLoop(step, [data], 0)).toBe(0);
      });
    }
  }
  test("every half is read and written exactly", async () => {
    for (const dtype of ["f16", "bf16"] as const) {
      const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
      const data = dtype === "f16" ? new Float16Array(bits.buffer) : bits;
      const step = packedLoop(
        [65536],
        [dtype],
        [load(0, dtype), { op: "cast", dtype: "f32", from: dtype, a: 0 }],
      );
      expect(await errorOfLoop(step, [data], 0)).toBe(0);
      const back = packedLoop([65536], [dtype], [load(0, dtype), { op: "unary", dtype, fn: "neg", a: 0 }]);
      expect(await errorOfLoop(back, [data], 0)).toBe(0);
    }
  });
  test("rounding inside a fused loop is kept", async () => {
    const code: Instruction[] = [
      load(0, "f32"),
      { op: "cast", dtype: "bf16", from: "f32", a: 0 },
      { op: "cast", dtype: "f32", from: "bf16", a: 1 },
      { op: "binary", dtype: "f32", fn: "sub", a: 0, b: 2 },
    ];
    expect(
      await errorOfLoop(packedLoop([777], ["f32"], code), [randomStorage("f32", 777, randomSource(1))]),
    ).toBe(0);
  });
});

test("an iota counts along its axis, scaled and shifted, in floats and integers", async () => {
  for (const dtype of ["f32", "i32", "u8", "bf16"] as const) {
    for (const axis of [0, 1, 2]) {
      const step = packedLoop([3, 5, 17], [], [{ op: "iota", dtype, axis, scale: 3, start: 2 }]);
      expect(await errorOfLoop(step, [])).toBe(0);
    }
  }
  const real = packedLoop([1001], [], [{ op: "iota", dtype: "f32", axis: 0, scale: 0.37, start: -2.5 }]);
  expect(await errorOfLoop(real, [], 4)).toBeLessThan(2);
});

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
    test(`${dtype}`, async () => {
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
