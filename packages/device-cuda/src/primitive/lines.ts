// Sizes before, at and after an axis: element (o, i, k) of a contiguous array lies at (o n + i) inner + k.

export interface Lines {
  readonly outer: number;
  readonly n: number;
  readonly inner: number;
}

export function linesAlong(shape: readonly number[], axis: number): Lines {
  const size = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);
  return { outer: size(shape.slice(0, axis)), n: shape[axis]!, inner: size(shape.slice(axis + 1)) };
}
