import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { View } from "./device.ts";
import type { Operation } from "./primitives.ts";
import { contiguousStrides, sizeOf, type Shape } from "./shape.ts";
import { collapse, contiguousView, isContiguous, isDense, moveView } from "./view.ts";

/** Addresses that a view visits, in row-major order. */
function addresses({ shape, strides, offset }: View): number[] {
  const inner = contiguousStrides(shape);
  return Array.from({ length: sizeOf(shape) }, (_, at) =>
    shape.reduce((sum, n, axis) => sum + (Math.floor(at / inner[axis]!) % n) * strides[axis]!, offset),
  );
}

/** The movement on an explicit list of elements. */
function move(list: readonly number[], shape: Shape, operation: Operation): number[] {
  const strides = contiguousStrides(shape);
  const pick = (out: Shape, from: (index: number[]) => number[]): number[] => {
    const inner = contiguousStrides(out);
    return Array.from({ length: sizeOf(out) }, (_, at) => {
      const index = from(out.map((n, axis) => Math.floor(at / inner[axis]!) % n));
      return list[index.reduce((sum, i, axis) => sum + i * strides[axis]!, 0)]!;
    });
  };
  switch (operation.name) {
    case "reshape":
      return [...list];
    case "permute": {
      const { order } = operation.params;
      return pick(
        order.map((a) => shape[a]!),
        (index) => shape.map((_, axis) => index[order.indexOf(axis)]!),
      );
    }
    case "expand":
      return pick(operation.params.shape, (index) => index.map((i, axis) => (shape[axis] === 1 ? 0 : i)));
    case "slice": {
      const { starts, sizes, steps } = operation.params;
      return pick(sizes, (index) => index.map((i, axis) => starts[axis]! + i * steps[axis]!));
    }
    default:
      throw new Error(operation.name);
  }
}

const outShape = (shape: Shape, o: Operation): Shape =>
  o.name === "permute"
    ? o.params.order.map((a) => shape[a]!)
    : o.name === "slice"
      ? o.params.sizes
      : (o.params as { shape: Shape }).shape;

/** A random movement of a shape, driven by a list of numbers. */
function movement(shape: Shape, kind: number, numbers: readonly number[]): Operation {
  const n = (i: number): number => numbers[i % numbers.length]!;
  switch (kind) {
    case 0: {
      const order = shape.map((_, i) => i).sort((a, b) => n(a) - n(b) || a - b);
      return { name: "permute", params: { order } };
    }
    case 1:
      return { name: "expand", params: { shape: shape.map((m, i) => (m === 1 ? n(i) % 4 : m)) } };
    case 2: {
      const axes = shape.map((m, i) => {
        const step = [1, 2, -1, -3][n(i) % 4]!;
        const start = m === 0 ? 0 : n(i + 1) % m;
        const most = m === 0 ? 0 : step > 0 ? Math.ceil((m - start) / step) : Math.floor(start / -step) + 1;
        return { step, start, size: Math.min(most, n(i + 2) % 6) };
      });
      return {
        name: "slice",
        params: {
          starts: axes.map((a) => a.start),
          sizes: axes.map((a) => a.size),
          steps: axes.map((a) => a.step),
        },
      };
    }
    default: {
      // Split the first axis that can be split, or merge two neighbours, or add an axis of one.
      const at = shape.findIndex((m) => m > 0 && m % 2 === 0);
      if (n(0) % 3 === 0 && at >= 0)
        return {
          name: "reshape",
          params: { shape: [...shape.slice(0, at), 2, shape[at]! / 2, ...shape.slice(at + 1)] },
        };
      if (n(0) % 3 === 1 && shape.length >= 2) {
        const k = n(1) % (shape.length - 1);
        return {
          name: "reshape",
          params: { shape: [...shape.slice(0, k), shape[k]! * shape[k + 1]!, ...shape.slice(k + 2)] },
        };
      }
      const k = n(1) % (shape.length + 1);
      return { name: "reshape", params: { shape: [...shape.slice(0, k), 1, ...shape.slice(k)] } };
    }
  }
}

const chains = fc.tuple(
  fc.array(fc.constantFrom(1, 2, 3, 4, 6), { maxLength: 4 }),
  fc.array(fc.tuple(fc.nat({ max: 3 }), fc.array(fc.nat({ max: 11 }), { minLength: 3, maxLength: 5 })), {
    maxLength: 6,
  }),
);

describe("moveView", () => {
  test("chains of movements visit the elements that explicit copies hold", () => {
    let reshaped = 0;
    let refused = 0;
    fc.assert(
      fc.property(chains, ([start, steps]) => {
        let view: View = contiguousView(start);
        let list = addresses(view);
        for (const [kind, numbers] of steps) {
          const operation = movement(view.shape, kind, numbers);
          if (operation.name === "reshape") reshaped++;
          const next = moveView(view, operation);
          const moved = move(list, view.shape, operation);
          if (next === undefined) {
            refused++;
            expect(operation.name).toBe("reshape");
            return;
          }
          expect(next.shape).toEqual(outShape(view.shape, operation));
          expect(addresses(next)).toEqual(moved);
          view = next;
          list = moved;
        }
      }),
      { numRuns: 400 },
    );
    // Most reshapes of strided windows need no copy.
    expect(refused).toBeLessThan(reshaped / 2);
  });

  test("a reshape of a transpose that cannot be a view is refused", () => {
    const turned: View = { shape: [3, 2], strides: [1, 3], offset: 0 };
    expect(moveView(turned, { name: "reshape", params: { shape: [6] } })).toBeUndefined();
    expect(moveView(turned, { name: "reshape", params: { shape: [3, 1, 2] } })).toEqual({
      shape: [3, 1, 2],
      strides: [1, 0, 3],
      offset: 0,
    });
  });
});

test("isDense and isContiguous", () => {
  expect(isContiguous(contiguousView([2, 3]))).toBe(true);
  expect(isContiguous({ shape: [2, 3], strides: [3, 1], offset: 4 })).toBe(false);
  expect(isDense({ shape: [2, 3], strides: [3, 1], offset: 4 })).toBe(true);
  expect(isDense({ shape: [2, 1, 3], strides: [3, 77, 1], offset: 0 })).toBe(true);
  expect(isDense({ shape: [2, 3], strides: [1, 2], offset: 0 })).toBe(false);
  expect(isDense({ shape: [2], strides: [0], offset: 0 })).toBe(false);
});

test("collapse walks the same addresses for every view at once", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 }).chain((shape) =>
        fc.tuple(
          fc.constant(shape),
          fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }),
          fc.shuffledSubarray(
            shape.map((_, i) => i),
            { minLength: shape.length },
          ),
        ),
      ),
      ([shape, zero, order]) => {
        const plain = contiguousStrides(shape);
        const repeated = plain.map((s, i) => (zero[i] ? 0 : s));
        const turned = contiguousStrides(order.map((a) => shape[a]!));
        const permuted = shape.map((_, axis) => turned[order.indexOf(axis)]!);
        const views = [plain, repeated, permuted];
        const merged = collapse(shape, views);
        views.forEach((strides, v) =>
          expect(addresses({ shape: merged.shape, strides: merged.strides[v]!, offset: 0 })).toEqual(
            addresses({ shape, strides, offset: 0 }),
          ),
        );
        expect(collapse(shape, [plain]).shape).toHaveLength(1);
      },
    ),
  );
});
