import {
  BINARY_FNS,
  COMPARE_FNS,
  isFloat,
  sizeOf,
  UNARY_FNS,
  type DType,
  type Instruction,
  type LoopStep,
  type TypedArray,
} from "@everlong/core";
import { describe, expect, test } from "vitest";
import { cpuDevice } from "./cpu.ts";
import {
  compareWithReference,
  load,
  packedLoop,
  programOf,
  randomSource,
  randomStorage,
  runProgram,
  storageOf,
  wideDevice,
  type BufferDraft,
} from "./step-harness.ts";

const cpu = cpuDevice({ threads: 1, poison: true });
const wide = wideDevice();

const FLOATS: readonly DType[] = ["f32", "f16", "bf16"];
const INTS: readonly DType[] = ["i32", "u8"];
const ALL: readonly DType[] = [...FLOATS, ...INTS, "bool"];

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
