// Arrays by index, for writing formulas.

import type { HostArray } from "@everlong/core";

type Shape = readonly number[];

function stridesOf(shape: Shape): number[] {
  return shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
}

/** An array from a formula of its index, called in row-major order. */
export function build(shape: Shape, value: (index: number[]) => number): Float64Array {
  const strides = stridesOf(shape);
  const size = shape.reduce((a, b) => a * b, 1);
  return Float64Array.from({ length: size }, (_, at) =>
    value(shape.map((n, axis) => Math.floor(at / strides[axis]!) % n)),
  );
}

/** The element at an index. */
export function get(x: HostArray | undefined, index: readonly number[]): number {
  const strides = stridesOf(x!.shape);
  return x!.data[index.reduce((at, i, axis) => at + i * strides[axis]!, 0)]!;
}

/** An index or shape with another entry on one axis. */
export const replaced = (index: readonly number[], axis: number, i: number): number[] =>
  index.map((j, a) => (a === axis ? i : j));

/** A shape without some axes. */
export const removed = (shape: Shape, axes: readonly number[]): number[] =>
  shape.filter((_, i) => !axes.includes(i));

/** All elements along an axis, for a given index of the other axes. */
export const line = (x: HostArray, index: readonly number[], axis: number): number[] =>
  Array.from({ length: x.shape[axis]! }, (_, i) => get(x, replaced(index, axis, i)));
