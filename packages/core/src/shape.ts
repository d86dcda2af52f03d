// Shapes, strides, broadcasting and axis arithmetic.

import { ShapeError } from "./errors.ts";

export type Shape = readonly number[];

export const sizeOf = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);
export const show = (shape: Shape): string => `[${shape.join(", ")}]`;
export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((n, i) => n === b[i]);

/** Row-major strides in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = Array.from<number>({ length: shape.length });
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i]!;
  }
  return strides;
}

/** The shape that both broadcast to (numpy's rule). */
export function broadcastShapes(op: string, a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  const out: number[] = [];
  for (let i = 0; i < rank; i++) {
    const m = a[a.length - rank + i] ?? 1;
    const n = b[b.length - rank + i] ?? 1;
    if (m !== n && m !== 1 && n !== 1) {
      throw new ShapeError(op, "shapes do not broadcast", {
        expected: "sizes that are equal or 1, counted from the last axis",
        got: `${show(a)} and ${show(b)}`,
      });
    }
    out.push(m === 1 ? n : m);
  }
  return out;
}

/** An axis in `0..rank-1`; negative ones count from the end. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  const a = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || a < 0 || a >= rank) {
    throw new ShapeError(op, "axis out of range", {
      expected: `an integer in ${-rank}..${rank - 1} for rank ${rank}`,
      got: `${axis}`,
    });
  }
  return a;
}

/** Sorted distinct axes; undefined means all. */
export function normalizeAxes(
  op: string,
  axes: number | readonly number[] | undefined,
  rank: number,
): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = (typeof axes === "number" ? [axes] : axes).map((a) => normalizeAxis(op, a, rank));
  if (new Set(list).size !== list.length)
    throw new ShapeError(op, "an axis is named twice", { got: show(list) });
  return list.sort((a, b) => a - b);
}

/** Checks that every size is a non-negative integer. */
export function checkShape(op: string, shape: Shape): void {
  for (const n of shape) {
    if (!Number.isInteger(n) || n < 0) {
      throw new ShapeError(op, "not a shape", { expected: "non-negative integers", got: show(shape) });
    }
  }
}
