// Reductions, running reductions and sorting: values against formulas, gradients (twice) against finite differences, batching against a loop.

import * as fc from "fast-check";
import {
  build,
  checkOp,
  distinct,
  get,
  integers,
  line,
  normal,
  removed,
  replaced,
  type InputSpec,
} from "@everlong/testing";
import type { ReduceFn } from "../primitives.ts";
import { sizeOf, type Shape } from "../shape.ts";
import { subject } from "./check-subject.ts";

const shapeOf = (min = 0): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 0, max: 5 }), { minLength: min, maxLength: 4 });

const folds: { readonly [F in ReduceFn]: (x: number[]) => number } = {
  sum: (x) => x.reduce((a, b) => a + b, 0),
  prod: (x) => x.reduce((a, b) => a * b, 1),
  max: (x) => x.reduce((a, b) => (b > a ? b : a), -Infinity),
  min: (x) => x.reduce((a, b) => (b < a ? b : a), Infinity),
};
for (const fn of ["sum", "prod", "max", "min"] as const) {
  const nonEmpty = fn === "max" || fn === "min";
  const input = (shape: Shape): InputSpec => ({ shape, sample: fn === "prod" ? normal : distinct });
  checkOp(subject("reduce", `reduce ${fn}`), {
    cases: [
      { inputs: [input([5])], params: { fn, axes: [0] } },
      { inputs: [input([3, 4, 2])], params: { fn, axes: [0, 2] } },
      { inputs: [input([3, 4, 2])], params: { fn, axes: [1] } },
      ...(nonEmpty ? [] : [{ inputs: [input([2, 0, 3])], params: { fn, axes: [1] } }]),
      { inputs: [input([0, 3])], params: { fn, axes: [1] } },
    ],
    arbitrary: shapeOf(1)
      .filter((shape) => !nonEmpty || sizeOf(shape) > 0)
      .chain((shape) =>
        fc
          .subarray(
            shape.map((_, i) => i),
            { minLength: 1 },
          )
          .map((axes) => ({ inputs: [input(shape)], params: { fn, axes } })),
      ),
    expected: ([x], { axes }) => {
      const kept = x!.shape.map((_, i) => i).filter((i) => !axes.includes(i));
      const groups = new Map<string, number[]>();
      build(removed(x!.shape, axes), (index) => (groups.set(index.join(), []), 0));
      build(x!.shape, (index) => (groups.get(kept.map((a) => index[a]!).join())!.push(get(x, index)), 0));
      return [[...groups.values()].map(folds[fn])];
    },
    secondOrder: true,
  });

  checkOp(subject("cumulative", `cumulative ${fn}`), {
    cases: [false, true].flatMap((reverse) => [
      { inputs: [input([6])], params: { fn, axis: 0, reverse } },
      { inputs: [input([3, 4, 2])], params: { fn, axis: 1, reverse } },
      { inputs: [input([2, 0])], params: { fn, axis: 1, reverse } },
    ]),
    expected: ([x], { axis, reverse }) => [
      build(x!.shape, (index) => {
        const all = line(x!, index, axis);
        return folds[fn](reverse ? all.slice(index[axis]!) : all.slice(0, index[axis]! + 1));
      }),
    ],
    secondOrder: true,
  });
}

const lined = (min: number): fc.Arbitrary<{ shape: Shape; axis: number }> =>
  fc
    .array(fc.integer({ min, max: 5 }), { minLength: 1, maxLength: 3 })
    .chain((shape) => fc.nat({ max: shape.length - 1 }).map((axis) => ({ shape, axis })));

for (const fn of ["max", "min"] as const) {
  checkOp(subject("argReduce", `argReduce ${fn}`), {
    cases: [{ inputs: [{ shape: [3, 5, 2], sample: integers(0, 3) }], params: { fn, axis: 1 } }],
    arbitrary: lined(1).map(({ shape, axis }) => ({
      inputs: [{ shape, sample: integers(0, 3) }],
      params: { fn, axis },
    })),
    expected: ([x], { axis }) => [
      build(removed(x!.shape, [axis]), (index) => {
        const all = line(x!, [...index.slice(0, axis), 0, ...index.slice(axis)], axis);
        return all.indexOf(folds[fn](all));
      }),
    ],
    differentiable: false,
  });
}

for (const descending of [false, true]) {
  checkOp(subject("sort", descending ? "sort descending" : "sort"), {
    cases: [
      { inputs: [{ shape: [9], sample: distinct }], params: { axis: 0, descending } },
      { inputs: [{ shape: [2, 5, 3], sample: distinct }], params: { axis: 1, descending } },
      { inputs: [{ shape: [0, 2], sample: distinct }], params: { axis: 0, descending } },
    ],
    arbitrary: lined(0).map(({ shape, axis }) => ({
      inputs: [{ shape, sample: distinct }],
      params: { axis, descending },
    })),
    expected: ([x], { axis }) => {
      const rankOf = (index: readonly number[]): number[] => {
        const all = line(x!, index, axis);
        return all.map((v) => all.filter((w) => (descending ? w > v : w < v)).length);
      };
      const from = (index: readonly number[]): number => rankOf(index).indexOf(index[axis]!);
      return [build(x!.shape, (index) => get(x, replaced(index, axis, from(index)))), build(x!.shape, from)];
    },
    secondOrder: true,
  });
}
