// Gather, scatter, matrix products and random bits: values against formulas, gradients (twice) against finite differences, batching against a loop.

import * as fc from "fast-check";
import { build, checkOp, get, integers, replaced, type InputSpec } from "@everlong/testing";
import { threefry2x32 } from "../reference/threefry.ts";
import { contiguousStrides, type Shape } from "../shape.ts";
import { subject } from "./check-subject.ts";

const shapeOf = (min = 0): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 0, max: 5 }), { minLength: min, maxLength: 4 });
const lined = (min: number): fc.Arbitrary<{ shape: Shape; axis: number }> =>
  fc
    .array(fc.integer({ min, max: 5 }), { minLength: 1, maxLength: 3 })
    .chain((shape) => fc.nat({ max: shape.length - 1 }).map((axis) => ({ shape, axis })));

const clamp = (i: number, n: number): number => Math.min(Math.max(i, 0), n - 1);
const picked = (shape: Shape, axis: number, n: number): InputSpec => ({
  shape: replaced(shape, axis, n),
  dtype: "i32",
  sample: integers(-2, shape[axis]! + 2),
});
checkOp(subject("gather"), {
  cases: [
    { inputs: [[5], picked([5], 0, 8)], params: { axis: 0 } },
    { inputs: [[2, 4, 3], picked([2, 4, 3], 1, 2)], params: { axis: 1 } },
    { inputs: [[2, 4], picked([2, 4], 0, 0)], params: { axis: 0 } },
  ],
  arbitrary: fc
    .tuple(lined(1), fc.nat({ max: 5 }))
    .map(([{ shape, axis }, n]) => ({ inputs: [shape, picked(shape, axis, n)], params: { axis } })),
  expected: ([x, at], { axis }) => [
    build(at!.shape, (index) => get(x, replaced(index, axis, clamp(get(at, index), x!.shape[axis]!)))),
  ],
  secondOrder: true,
});

for (const mode of ["add", "set"] as const) {
  checkOp(subject("scatter", `scatter ${mode}`), {
    cases: [
      { inputs: [[4], picked([4], 0, 9), [9]], params: { axis: 0, mode } },
      { inputs: [[2, 4, 3], picked([2, 4, 3], 1, 5), [2, 5, 3]], params: { axis: 1, mode } },
      { inputs: [[3, 2], picked([3, 2], 0, 0), [0, 2]], params: { axis: 0, mode } },
    ],
    arbitrary: fc.tuple(lined(1), fc.nat({ max: 5 })).map(([{ shape, axis }, n]) => ({
      inputs: [shape, picked(shape, axis, n), replaced(shape, axis, n)],
      params: { axis, mode },
    })),
    expected: ([base, at, updates], { axis }) => {
      const out = { shape: base!.shape, data: base!.data.slice() };
      const strides = contiguousStrides(base!.shape);
      build(at!.shape, (index) => {
        const to = replaced(index, axis, get(at, index));
        if (to[axis]! < 0 || to[axis]! >= base!.shape[axis]!) return 0;
        const place = to.reduce((sum, i, a) => sum + i * strides[a]!, 0);
        out.data[place] = (mode === "add" ? out.data[place]! : 0) + get(updates, index);
        return 0;
      });
      return [out.data];
    },
    secondOrder: true,
  });
}

checkOp(subject("matmul"), {
  cases: [
    {
      inputs: [
        [3, 4],
        [4, 5],
      ],
      params: {},
    },
    {
      inputs: [
        [2, 1, 3, 7],
        [2, 1, 7, 2],
      ],
      params: {},
    },
    {
      inputs: [
        [3, 0],
        [0, 2],
      ],
      params: {},
    },
    {
      inputs: [
        [0, 3, 2],
        [0, 2, 1],
      ],
      params: {},
    },
  ],
  arbitrary: fc
    .tuple(shapeOf(), fc.tuple(fc.nat({ max: 9 }), fc.nat({ max: 9 }), fc.nat({ max: 9 })))
    .map(([all, [m, k, n]]) => {
      const batch = all.slice(0, 2);
      return {
        inputs: [
          [...batch, m, k],
          [...batch, k, n],
        ],
        params: {},
      };
    }),
  expected: ([a, b]) => {
    const k = a!.shape[a!.shape.length - 1]!;
    const shape = [...a!.shape.slice(0, -1), b!.shape[b!.shape.length - 1]!];
    return [
      build(shape, (index) => {
        const [i, j] = [index[index.length - 2]!, index[index.length - 1]!];
        const batch = index.slice(0, -2);
        return Array.from(
          { length: k },
          (_, l) => get(a, [...batch, i, l]) * get(b, [...batch, l, j]),
        ).reduce((s, v) => s + v, 0);
      }),
    ];
  },
  secondOrder: true,
});

checkOp(subject("randomBits"), {
  cases: [[], [1], [7], [3, 5], [0]].map((shape) => ({
    inputs: [{ shape: [2], dtype: "i32" as const, sample: integers(-(2 ** 31), 2 ** 31) }],
    params: { shape },
  })),
  expected: ([key], { shape }) => {
    const at = build(shape, (index) =>
      index.reduce((sum, i, a) => sum + i * contiguousStrides(shape)[a]!, 0),
    );
    return [at.map((i) => threefry2x32(key!.data[0]!, key!.data[1]!, Math.floor(i / 2), 0)[i % 2]!)];
  },
  differentiable: false,
});
