// Movement primitives: values against formulas, gradients (twice) against finite differences, batching against a loop.

import * as fc from "fast-check";
import { build, checkOp, get, replaced } from "@everlong/testing";
import type { HostArray } from "../op.ts";
import type { Primitive, PrimitiveParams } from "../primitives.ts";
import type { Shape } from "../shape.ts";
import { subject } from "./check-subject.ts";

const shapeOf = (min = 0): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 0, max: 5 }), { minLength: min, maxLength: 4 });

function checkMovement<P extends Primitive>(
  name: P,
  cases: readonly { readonly shape: Shape; readonly params: PrimitiveParams[P] }[],
  arbitrary: fc.Arbitrary<{ readonly shape: Shape; readonly params: PrimitiveParams[P] }>,
  from: (x: HostArray, params: PrimitiveParams[P]) => Float64Array,
): void {
  const lift = ({ shape, params }: (typeof cases)[number]) => ({ inputs: [shape], params });
  checkOp(subject(name), {
    cases: cases.map(lift),
    arbitrary: arbitrary.map(lift),
    expected: ([x], params) => [from(x!, params)],
    secondOrder: true,
  });
}

checkMovement(
  "reshape",
  [
    { shape: [2, 6], params: { shape: [3, 4] } },
    { shape: [], params: { shape: [1, 1] } },
    { shape: [0, 3], params: { shape: [7, 0] } },
  ],
  shapeOf().map((shape) => ({ shape, params: { shape: [...shape].reverse() } })),
  (x) => x.data,
);

const orders = (shape: Shape): fc.Arbitrary<number[]> =>
  fc.shuffledSubarray(
    shape.map((_, i) => i),
    { minLength: shape.length },
  );
checkMovement(
  "permute",
  [
    { shape: [2, 3, 4], params: { order: [2, 0, 1] } },
    { shape: [], params: { order: [] } },
  ],
  shapeOf().chain((shape) => orders(shape).map((order) => ({ shape, params: { order } }))),
  (x, { order }) =>
    build(
      order.map((a) => x.shape[a]!),
      (index) =>
        get(
          x,
          x.shape.map((_, axis) => index[order.indexOf(axis)]!),
        ),
    ),
);

checkMovement(
  "expand",
  [
    { shape: [1, 3, 1], params: { shape: [4, 3, 2] } },
    { shape: [1], params: { shape: [0] } },
  ],
  shapeOf().chain((shape) =>
    fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }).map((grow) => ({
      shape: shape.map((n, i) => (grow[i] ? 1 : n)),
      params: { shape },
    })),
  ),
  (x, { shape }) =>
    build(shape, (index) =>
      get(
        x,
        index.map((i, axis) => (x.shape[axis] === 1 ? 0 : i)),
      ),
    ),
);

const slices = shapeOf().chain((shape) =>
  fc
    .tuple(
      ...shape.map((n) =>
        fc.tuple(fc.nat({ max: Math.max(0, n - 1) }), fc.nat({ max: 5 }), fc.constantFrom(1, 2, 3, -1, -2)),
      ),
    )
    .map((axes) => {
      const parts = axes.map(([start, count, step], axis) => {
        const n = shape[axis]!;
        const most = n === 0 ? 0 : step > 0 ? Math.ceil((n - start) / step) : Math.floor(start / -step) + 1;
        return { start, step, size: Math.min(count, most) };
      });
      const params = {
        starts: parts.map((p) => p.start),
        sizes: parts.map((p) => p.size),
        steps: parts.map((p) => p.step),
      };
      return { shape, params };
    }),
);
checkMovement(
  "slice",
  [
    { shape: [7, 4], params: { starts: [1, 3], sizes: [3, 4], steps: [2, -1] } },
    { shape: [5], params: { starts: [4], sizes: [2], steps: [-3] } },
    { shape: [5], params: { starts: [2], sizes: [0], steps: [1] } },
  ],
  slices,
  (x, { starts, sizes, steps }) =>
    build(sizes, (index) =>
      get(
        x,
        index.map((i, axis) => starts[axis]! + i * steps[axis]!),
      ),
    ),
);

const widths = (rank: number): fc.Arbitrary<number[]> =>
  fc.array(fc.nat({ max: 3 }), { minLength: rank, maxLength: rank });
checkMovement(
  "pad",
  [
    { shape: [2, 3], params: { before: [1, 0], after: [0, 2], value: 7.5 } },
    { shape: [0, 2], params: { before: [2, 1], after: [1, 0], value: -1 } },
    { shape: [], params: { before: [], after: [], value: 1 } },
  ],
  shapeOf().chain((shape) =>
    fc
      .tuple(widths(shape.length), widths(shape.length))
      .map(([before, after]) => ({ shape, params: { before, after, value: 0.5 } })),
  ),
  (x, { before, after, value }) =>
    build(
      x.shape.map((n, i) => n + before[i]! + after[i]!),
      (index) => {
        const at = index.map((i, axis) => i - before[axis]!);
        return at.every((i, axis) => i >= 0 && i < x.shape[axis]!) ? get(x, at) : value;
      },
    ),
);

checkOp(subject("concat"), {
  cases: [
    {
      inputs: [
        [2, 3],
        [4, 3],
      ],
      params: { axis: 0 },
    },
    {
      inputs: [
        [2, 0],
        [2, 3],
        [2, 1],
      ],
      params: { axis: 1 },
    },
  ],
  arbitrary: fc
    .tuple(shapeOf(1), fc.nat({ max: 3 }), fc.array(fc.nat({ max: 4 }), { minLength: 1, maxLength: 4 }))
    .map(([shape, a, sizes]) => {
      const axis = a % shape.length;
      return { inputs: sizes.map((n) => replaced(shape, axis, n)), params: { axis } };
    }),
  expected: (parts, { axis }) => {
    const total = parts.reduce((n, p) => n + p.shape[axis]!, 0);
    return [
      build(replaced(parts[0]!.shape, axis, total), (index) => {
        let i = index[axis]!;
        const part = parts.find((p) => i < p.shape[axis]! || ((i -= p.shape[axis]!), false));
        return get(part, replaced(index, axis, i));
      }),
    ];
  },
  secondOrder: true,
});
