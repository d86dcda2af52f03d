import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Instruction, Operand, View } from "../device.ts";
import { contiguousStrides, sizeOf, type Shape } from "../shape.ts";
import { BLOCK } from "./code.ts";
import { runStep, whole } from "./hand-made.ts";

/** Every index of a shape, row-major. */
function* indices(shape: Shape): Generator<number[]> {
  const total = sizeOf(shape);
  for (let i = 0; i < total; i++) {
    let rest = i;
    yield shape.map((_, axis) => {
      const inner = sizeOf(shape.slice(axis + 1));
      const at = Math.floor(rest / inner);
      rest %= inner;
      return at;
    });
  }
}
const address = (view: View, index: readonly number[]): number =>
  view.offset + index.reduce((sum, i, axis) => sum + i * view.strides[axis]!, 0);

/** A random window of a buffer: axes in any memory order, reversed, repeated or skipped over. */
const windows = (shape: Shape): fc.Arbitrary<{ view: View; length: number }> =>
  fc
    .tuple(
      fc.array(fc.constantFrom(1, 2, -1, -2, 0), { minLength: shape.length, maxLength: shape.length }),
      fc.shuffledSubarray(
        shape.map((_, i) => i),
        { minLength: shape.length },
      ),
      fc.integer({ min: 0, max: 3 }),
    )
    .map(([steps, order, slack]) => {
      const strides = shape.map(() => 0);
      let step = 1;
      for (const axis of order) {
        strides[axis] = step * steps[axis]!;
        step *= Math.max(1, shape[axis]! * Math.max(1, Math.abs(steps[axis]!)));
      }
      const offset = slack + shape.reduce((sum, n, axis) => sum - Math.min(0, (n - 1) * strides[axis]!), 0);
      return { view: { shape, strides, offset }, length: step + offset + 1 };
    });

const shapes = fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 4 });
const ramp = (n: number, scale: number): number[] =>
  Array.from({ length: n }, (_, i) => Math.sin(i * scale + 1));

describe("loop", () => {
  test("loads, computes and stores through any views", async () => {
    const cases = shapes.chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        windows(shape),
        windows(shape),
        fc.nat({ max: Math.max(0, shape.length - 1) }),
      ),
    );
    await fc.assert(
      fc.asyncProperty(cases, async ([shape, a, b, axis]) => {
        const x = ramp(a.length, 0.7);
        const y = ramp(b.length, 1.1);
        const code: Instruction[] = [
          { op: "load", dtype: "f64", arg: 1 },
          { op: "load", dtype: "f64", arg: 0 },
          { op: "iota", dtype: "f64", axis, scale: -2.5, start: 0.25 },
          { op: "binary", dtype: "f64", fn: "mul", a: 0, b: 1 },
          { op: "binary", dtype: "f64", fn: "sub", a: 3, b: 2 },
        ];
        const args: Operand[] = [
          { buffer: 0, dtype: "f64", view: a.view },
          { buffer: 1, dtype: "f64", view: b.view },
        ];
        // The output is transposed: its axes lie in memory in reverse order.
        const strides = contiguousStrides([...shape].reverse()).reverse();
        const view = { shape, strides, offset: 0 };
        const [out] = await runStep(
          {
            kind: "loop",
            shape,
            args,
            code,
            outputs: [{ operand: { buffer: 2, dtype: "f64", view }, value: 4 }],
          },
          [
            { dtype: "f64", values: x },
            { dtype: "f64", values: y },
          ],
          [{ dtype: "f64", shape }],
        );
        for (const index of indices(shape)) {
          const expected =
            y[address(b.view, index)]! * x[address(a.view, index)]! -
            (0.25 - 2.5 * (shape.length > 0 ? index[axis]! : 0));
          expect(out![address(view, index)]).toBe(expected);
        }
      }),
      { numRuns: 150 },
    );
  });

  test("spans blocks, in one and in several dimensions", async () => {
    for (const shape of [
      [BLOCK - 1],
      [BLOCK],
      [3 * BLOCK + 5],
      [37, 3, 41],
      [2, BLOCK + 1],
      [BLOCK + 3, 2],
    ]) {
      const size = sizeOf(shape);
      const values = ramp(size, 0.3);
      const view = { shape, strides: contiguousStrides(shape).map((s) => -s), offset: size - 1 };
      const [out, wide] = await runStep(
        {
          kind: "loop",
          shape,
          args: [{ buffer: 0, dtype: "f64", view }, whole(0, shape)],
          code: [
            { op: "load", dtype: "f64", arg: 0 },
            { op: "load", dtype: "f64", arg: 1 },
            { op: "compare", dtype: "bool", of: "f64", fn: "lt", a: 0, b: 1 },
            { op: "select", dtype: "f64", a: 2, b: 0, c: 1 },
          ],
          outputs: [
            { operand: whole(1, shape), value: 3 },
            { operand: whole(2, shape, "bool"), value: 2 },
          ],
        },
        [{ dtype: "f64", values }],
        [
          { dtype: "f64", shape },
          { dtype: "bool", shape },
        ],
      );
      expect(out).toEqual(values.map((v, i) => Math.min(v, values[size - 1 - i]!)));
      expect(wide).toEqual(values.map((v, i) => (values[size - 1 - i]! < v ? 1 : 0)));
    }
  });

  test("rounds where values are stored, cast or constant, not between", async () => {
    const shape = [1];
    const store = async (code: Instruction[], dtype: "f32" | "f64" | "bf16"): Promise<number> => {
      const outputs = [{ operand: whole(0, shape, dtype), value: code.length - 1 }];
      const [out] = await runStep({ kind: "loop", shape, args: [], code, outputs }, [], [{ dtype, shape }]);
      return out![0]!;
    };
    const third: Instruction[] = [
      { op: "const", dtype: "f32", value: 1 },
      { op: "const", dtype: "f32", value: 3 },
      { op: "binary", dtype: "f32", fn: "div", a: 0, b: 1 },
    ];
    expect(await store(third, "f32")).toBe(Math.fround(1 / 3));
    expect(await store([...third, { op: "binary", dtype: "f32", fn: "mul", a: 2, b: 1 }], "f32")).toBe(1);
    expect(await store([{ op: "const", dtype: "f32", value: 0.1 }], "f64")).toBe(Math.fround(0.1));
    expect(await store([...third, { op: "cast", dtype: "bf16", from: "f32", a: 2 }], "f64")).toBe(
      0.333984375,
    );
    expect(await store(third, "bf16")).toBe(0.333984375);
  });

  test("integers wrap instruction by instruction", async () => {
    const shape = [5];
    const [out] = await runStep(
      {
        kind: "loop",
        shape,
        args: [],
        code: [
          { op: "iota", dtype: "i32", axis: 0, scale: 2 ** 30, start: 0 },
          { op: "binary", dtype: "i32", fn: "add", a: 0, b: 0 },
          { op: "cast", dtype: "f64", from: "i32", a: 1 },
        ],
        outputs: [{ operand: whole(0, shape), value: 2 }],
      },
      [],
      [{ dtype: "f64", shape }],
    );
    expect(out!.map((x) => x + 0)).toEqual([0, -(2 ** 31), 0, -(2 ** 31), 0]);
  });

  test("an empty space does nothing; a view outside its buffer is refused", async () => {
    const empty = {
      kind: "loop",
      shape: [0, 3],
      args: [whole(0, [0, 3])],
      code: [{ op: "load", dtype: "f64", arg: 0 }],
      outputs: [{ operand: whole(1, [0, 3]), value: 0 }],
    } as const;
    expect(await runStep(empty, [{ dtype: "f64", values: [] }], [{ dtype: "f64", shape: [0, 3] }])).toEqual([
      [],
    ]);
    const outside = {
      ...empty,
      shape: [3],
      args: [{ ...whole(0, [3]), view: { shape: [3], strides: [-1], offset: 1 } }],
      outputs: [{ operand: whole(1, [3]), value: 0 }],
    };
    await expect(
      runStep(outside, [{ dtype: "f64", values: [1, 2, 3] }], [{ dtype: "f64", shape: [3] }]),
    ).rejects.toThrow("-1..1");
  });
});

describe("reduce", () => {
  const formulas = {
    sum: (x: number[]) => x.reduce((a, b) => a + b, 0),
    prod: (x: number[]) => x.reduce((a, b) => a * b, 1),
    max: (x: number[]) => (x.some(Number.isNaN) ? NaN : x.reduce((a, b) => (a > b ? a : b), -Infinity)),
    min: (x: number[]) => (x.some(Number.isNaN) ? NaN : x.reduce((a, b) => (a < b ? a : b), Infinity)),
  };
  const functions = Object.keys(formulas) as (keyof typeof formulas)[];

  test("any axes of any views, of computed values", async () => {
    const cases = shapes.chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        windows(shape),
        fc.subarray(shape.map((_, i) => i)),
        fc.constantFrom(...functions),
      ),
    );
    await fc.assert(
      fc.asyncProperty(cases, async ([shape, { view, length }, axes, fn]) => {
        const values = ramp(length, 0.9);
        const kept = shape.filter((_, i) => !axes.includes(i));
        const [out] = await runStep(
          {
            kind: "reduce",
            shape,
            axes,
            fn,
            args: [{ buffer: 0, dtype: "f64", view }],
            code: [
              { op: "load", dtype: "f64", arg: 0 },
              { op: "iota", dtype: "f64", axis: Math.max(0, shape.length - 1), scale: 0.5, start: 1 },
              { op: "binary", dtype: "f64", fn: "add", a: 0, b: 1 },
            ],
            output: whole(1, kept),
          },
          [{ dtype: "f64", values }],
          [{ dtype: "f64", shape: kept }],
        );
        const groups = new Map<string, number[]>();
        for (const index of indices(shape)) {
          const key = index.filter((_, i) => !axes.includes(i)).join();
          const last = shape.length > 0 ? index[shape.length - 1]! : 0;
          groups.set(key, [...(groups.get(key) ?? []), values[address(view, index)]! + (1 + 0.5 * last)]);
        }
        [...groups.values()].forEach((group, i) => expect(out![i]).toBeCloseTo(formulas[fn](group), 10));
        expect(groups.size).toBe(out!.length);
      }),
      { numRuns: 150 },
    );
  });

  const rows = async (
    fn: keyof typeof formulas,
    dtype: "f64" | "i32" | "u8" | "bool",
    shape: Shape,
    values: number[],
  ) =>
    (
      await runStep(
        {
          kind: "reduce",
          shape,
          axes: [1],
          fn,
          args: [whole(0, shape, dtype)],
          code: [{ op: "load", dtype, arg: 0 }],
          output: whole(1, [shape[0]!], dtype),
        },
        [{ dtype, values }],
        [{ dtype, shape: [shape[0]!] }],
      )
    )[0];

  test("NaN wins, wherever it stands; no elements give the neutral element", async () => {
    expect(await rows("max", "f64", [3, 2], [NaN, 1, 1, NaN, 1, 2])).toEqual([NaN, NaN, 2]);
    expect(await rows("min", "f64", [2, 2], [1, NaN, -Infinity, 3])).toEqual([NaN, -Infinity]);
    expect(await rows("sum", "f64", [2, 0], [])).toEqual([0, 0]);
    expect(await rows("prod", "i32", [2, 0], [])).toEqual([1, 1]);
    expect(await rows("sum", "f64", [0, 4], [])).toEqual([]);
  });
  test("integers wrap, bools take max and min", async () => {
    expect(await rows("sum", "i32", [1, 3], [2 ** 31 - 1, 1, 5])).toEqual([-(2 ** 31) + 5]);
    expect(await rows("prod", "u8", [1, 3], [16, 17, 3])).toEqual([48]);
    expect(await rows("max", "bool", [2, 2], [0, 1, 0, 0])).toEqual([1, 0]);
    expect(await rows("min", "bool", [2, 2], [0, 1, 1, 1])).toEqual([0, 1]);
  });
  test("runs longer than a block, and many short ones", async () => {
    for (const shape of [
      [3, BLOCK * 2 + 7],
      [BLOCK * 2 + 7, 3],
    ]) {
      const values = ramp(sizeOf(shape), 0.01);
      const out = await rows("sum", "f64", shape, values);
      const expected = Array.from({ length: shape[0]! }, (_, i) =>
        formulas.sum(values.slice(i * shape[1]!, (i + 1) * shape[1]!)),
      );
      expect(out).toEqual(expected);
    }
  });
});
