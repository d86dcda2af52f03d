import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Operand, PrimitiveStep } from "../device.ts";
import type { DType } from "../dtype.ts";
import { sizeOf, type Shape } from "../shape.ts";
import { runStep, whole } from "./hand-made.ts";
import { threefry2x32 } from "./threefry.ts";

type Arg = { readonly dtype?: DType; readonly shape: Shape; readonly values: readonly number[] };

function run(
  primitive: PrimitiveStep["primitive"],
  args: Arg[],
  outs: { dtype?: DType; shape: Shape }[],
): Promise<number[][]> {
  const dtypes = args.map((a) => a.dtype ?? "f64");
  const outputs = outs.map((o) => ({ dtype: o.dtype ?? ("f64" as const), shape: o.shape }));
  return runStep(
    {
      kind: "primitive",
      primitive,
      inputs: args.map((a, i) => whole(i, a.shape, dtypes[i])),
      outputs: outputs.map((o, i) => whole(args.length + i, o.shape, o.dtype)),
    },
    args.map((a, i) => ({ dtype: dtypes[i]!, values: a.values })),
    outputs,
  );
}

const noise = (n: number, seed = 1): number[] =>
  Array.from({ length: n }, (_, i) => Math.round(Math.sin(seed + i * i) * 9));

/** Lines of `x` along `axis`, as lists, in row-major order of the other axes; and their inverse. */
function lines(x: readonly number[], shape: Shape, axis: number): number[][] {
  const inner = sizeOf(shape.slice(axis + 1));
  const n = shape[axis]!;
  return Array.from({ length: sizeOf(shape) / n }, (_, line) =>
    Array.from(
      { length: n },
      (_, i) => x[Math.floor(line / inner) * n * inner + i * inner + (line % inner)]!,
    ),
  );
}
const cases = fc
  .array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 })
  .chain((shape) => fc.tuple(fc.constant(shape), fc.nat({ max: shape.length - 1 }), fc.nat({ max: 99 })));

describe("argReduce", () => {
  test("first extreme along any axis", async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.constantFrom("max", "min"), async ([shape, axis, seed], fn) => {
        const values = noise(sizeOf(shape), seed);
        const outShape = shape.filter((_, i) => i !== axis);
        const [out] = await run(
          { name: "argReduce", params: { fn, axis } },
          [{ shape, values }],
          [{ dtype: "i32", shape: outShape }],
        );
        expect(out).toEqual(lines(values, shape, axis).map((l) => l.indexOf(Math[fn](...l))));
      }),
      { numRuns: 60 },
    );
  });
  test("NaN is the extreme, the first one counts", async () => {
    const values = [1, NaN, NaN, 3, -Infinity, -Infinity, -Infinity, 0, NaN, 5, 2, NaN];
    const at = async (fn: "max" | "min") =>
      (
        await run(
          { name: "argReduce", params: { fn, axis: 1 } },
          [{ shape: [3, 4], values }],
          [{ dtype: "i32", shape: [3] }],
        )
      )[0];
    expect(await at("max")).toEqual([1, 3, 0]);
    expect(await at("min")).toEqual([1, 0, 0]);
  });
});

describe("cumulative", () => {
  const steps = {
    sum: (a: number, b: number) => a + b,
    prod: (a: number, b: number) => a * b,
    max: (a: number, b: number) => Math.max(a, b),
    min: (a: number, b: number) => Math.min(a, b),
  };
  test("any axis, both directions", async () => {
    await fc.assert(
      fc.asyncProperty(
        cases,
        fc.constantFrom("sum", "prod", "max", "min"),
        fc.boolean(),
        async ([shape, axis, seed], fn, reverse) => {
          const values = noise(sizeOf(shape), seed);
          const [out] = await run(
            { name: "cumulative", params: { fn, axis, reverse } },
            [{ shape, values }],
            [{ shape }],
          );
          const expected = lines(values, shape, axis).map((line) => {
            const l = reverse ? line.toReversed() : line;
            const r = l.map((_, i) => l.slice(0, i + 1).reduce(steps[fn]));
            return reverse ? r.toReversed() : r;
          });
          expect(lines(out!, shape, axis)).toEqual(expected);
        },
      ),
      { numRuns: 80 },
    );
  });
  test("integers wrap; an empty axis is fine", async () => {
    const values = [2 ** 31 - 1, 1, 1];
    const params = { fn: "sum", axis: 0, reverse: false } as const;
    const [out] = await run(
      { name: "cumulative", params },
      [{ dtype: "i32", shape: [3], values }],
      [{ dtype: "i32", shape: [3] }],
    );
    expect(out).toEqual([2 ** 31 - 1, -(2 ** 31), -(2 ** 31) + 1]);
    expect(
      await run({ name: "cumulative", params }, [{ shape: [0, 2], values: [] }], [{ shape: [0, 2] }]),
    ).toEqual([[]]);
  });
});

describe("sort", () => {
  test("stable along any axis, both directions", async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.boolean(), async ([shape, axis, seed], descending) => {
        const values = noise(sizeOf(shape), seed);
        const [sorted, order] = await run(
          { name: "sort", params: { axis, descending } },
          [{ shape, values }],
          [{ shape }, { dtype: "i32", shape }],
        );
        lines(values, shape, axis).forEach((line, l) => {
          // Independent of the sort under test: rank of an element is the number of elements that go before it.
          const before = (a: number, b: number): boolean => (descending ? a > b : a < b);
          const rank = line.map((v, i) => line.filter((w, j) => before(w, v) || (w === v && j < i)).length);
          const expected = line.map((_, r) => rank.indexOf(r));
          expect(lines(order!, shape, axis)[l]).toEqual(expected);
          expect(lines(sorted!, shape, axis)[l]).toEqual(expected.map((i) => line[i]));
        });
      }),
      { numRuns: 80 },
    );
  });
  test("NaN last in both directions", async () => {
    for (const descending of [false, true]) {
      const values = [NaN, 2, -Infinity, NaN, Infinity, 1];
      const [sorted, order] = await run(
        { name: "sort", params: { axis: 0, descending } },
        [{ shape: [6], values }],
        [{ shape: [6] }, { dtype: "i32", shape: [6] }],
      );
      expect(sorted).toEqual(
        descending ? [Infinity, 2, 1, -Infinity, NaN, NaN] : [-Infinity, 1, 2, Infinity, NaN, NaN],
      );
      expect(order).toEqual(descending ? [4, 1, 5, 2, 0, 3] : [2, 5, 1, 4, 0, 3]);
    }
  });
});

test("gather picks along any axis and clamps", async () => {
  await fc.assert(
    fc.asyncProperty(cases, fc.integer({ min: 0, max: 4 }), async ([shape, axis, seed], m) => {
      const values = noise(sizeOf(shape), seed);
      const picked = shape.map((n, i) => (i === axis ? m : n));
      const at = noise(sizeOf(picked), seed + 1).map((v) => v % 7);
      const [out] = await run(
        { name: "gather", params: { axis } },
        [
          { shape, values },
          { dtype: "i32", shape: picked, values: at },
        ],
        [{ shape: picked }],
      );
      if (m === 0) return void expect(out).toEqual([]);
      const x = lines(values, shape, axis);
      const clamp = (i: number): number => Math.min(Math.max(i, 0), shape[axis]! - 1);
      expect(lines(out!, picked, axis)).toEqual(
        lines(at, picked, axis).map((l, k) => l.map((i) => x[k]![clamp(i)])),
      );
    }),
    { numRuns: 60 },
  );
});

test("scatter adds or writes in index order and drops what is out of range", async () => {
  await fc.assert(
    fc.asyncProperty(
      cases,
      fc.integer({ min: 1, max: 6 }),
      fc.constantFrom("add", "set"),
      async ([shape, axis, seed], m, mode) => {
        const base = noise(sizeOf(shape), seed);
        const wide = shape.map((n, i) => (i === axis ? m : n));
        const at = noise(sizeOf(wide), seed + 1).map((v) => v % 7);
        const updates = noise(sizeOf(wide), seed + 2);
        const args = [
          { shape, values: base },
          { dtype: "i32" as const, shape: wide, values: at },
          { shape: wide, values: updates },
        ];
        const [out] = await run({ name: "scatter", params: { axis, mode } }, args, [{ shape }]);
        const expected = lines(base, shape, axis);
        const u = lines(updates, wide, axis);
        lines(at, wide, axis).forEach((l, k) =>
          l.forEach((i, j) => {
            if (i < 0 || i >= shape[axis]!) return;
            expected[k]![i] = mode === "add" ? expected[k]![i]! + u[k]![j]! : u[k]![j]!;
          }),
        );
        expect(lines(out!, shape, axis)).toEqual(expected);
      },
    ),
    { numRuns: 60 },
  );
});

test("matmul with batch axes, empty ones too", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 3, maxLength: 5 }),
      async (sizes) => {
        const [m, k, n, ...batch] = sizes as [number, number, number];
        const a = { shape: [...batch, m, k], values: noise(sizeOf(batch) * m * k, 1) };
        const b = { shape: [...batch, k, n], values: noise(sizeOf(batch) * k * n, 2) };
        const shape = [...batch, m, n];
        const [out] = await run({ name: "matmul", params: {} }, [a, b], [{ shape }]);
        const expected = Array.from({ length: sizeOf(shape) }, (_, at) => {
          const [g, i, j] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
          return Array.from(
            { length: k },
            (_, l) => a.values[(g * m + i) * k + l]! * b.values[(g * k + l) * n + j]!,
          ).reduce((s, x) => s + x, 0);
        });
        expect(out!.map((x) => x + 0)).toEqual(expected.map((x) => x + 0));
      },
    ),
    { numRuns: 60 },
  );
});

test("fft transforms rows, both ways, unscaled", async () => {
  const shape = [2, 6];
  const [re, im] = [noise(12, 1), noise(12, 2)];
  for (const inverse of [false, true]) {
    const [outRe, outIm] = await run(
      { name: "fft", params: { inverse } },
      [
        { shape, values: re },
        { shape, values: im },
      ],
      [{ shape }, { shape }],
    );
    for (let at = 0; at < 12; at++) {
      const [row, k] = [Math.floor(at / 6), at % 6];
      let [sumRe, sumIm] = [0, 0];
      for (let t = 0; t < 6; t++) {
        const angle = ((inverse ? 2 : -2) * Math.PI * k * t) / 6;
        sumRe += re[row * 6 + t]! * Math.cos(angle) - im[row * 6 + t]! * Math.sin(angle);
        sumIm += re[row * 6 + t]! * Math.sin(angle) + im[row * 6 + t]! * Math.cos(angle);
      }
      expect(outRe![at]).toBeCloseTo(sumRe, 12);
      expect(outIm![at]).toBeCloseTo(sumIm, 12);
    }
  }
});

test("randomBits counts in row-major order", async () => {
  const key = { dtype: "i32" as const, shape: [2], values: [17, -5] };
  const [out] = await run(
    { name: "randomBits", params: { shape: [3, 3] } },
    [key],
    [{ dtype: "i32", shape: [3, 3] }],
  );
  expect(out).toEqual([0, 1, 2, 3, 4].flatMap((j) => threefry2x32(17, -5, j, 0)).slice(0, 9));
});

test("inputs may be strided, and f32 results are rounded", async () => {
  // x is a 3 x 2 matrix stored transposed and reversed; y repeats one row.
  const x: Operand = { buffer: 0, dtype: "f32", view: { shape: [3, 2], strides: [-1, -3], offset: 5 } };
  const y: Operand = { buffer: 1, dtype: "f32", view: { shape: [2, 2], strides: [0, 1], offset: 1 } };
  const [out] = await runStep(
    {
      kind: "primitive",
      primitive: { name: "matmul", params: {} },
      inputs: [x, y],
      outputs: [whole(2, [3, 2], "f32")],
    },
    [
      { dtype: "f32", values: [1, 2, 3, 4, 5, 6] },
      { dtype: "f32", values: [9, 0.1, 0.3] },
    ],
    [{ dtype: "f32", shape: [3, 2] }],
  );
  const sums = [6 + 3, 5 + 2, 4 + 1];
  const [a, b] = [Math.fround(0.1), Math.fround(0.3)];
  sums.flatMap((s) => [s * a, s * b]).forEach((v, i) => expect(out![i]).toBeCloseTo(v, 6));
  expect(out!.every((v) => Math.fround(v) === v)).toBe(true);
});
