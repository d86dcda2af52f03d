// An axis splits a shape into three: what is before it, itself, what is after it.

import type { WasmView } from "../kernel-step.ts";

/** Sizes before, at and after an axis: element (o, i, k) of a packed array lies at (o * n + i) * inner + k. */
export interface Around {
  readonly outer: number;
  readonly n: number;
  readonly inner: number;
}

const product = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);

export function around(shape: readonly number[], axis: number): Around {
  return { outer: product(shape.slice(0, axis)), n: shape[axis]!, inner: product(shape.slice(axis + 1)) };
}

/** One stride (elements) for each of the three groups, when the view steps evenly through each; else undefined. */
export function groupStrides(view: WasmView, axis: number): readonly [number, number, number] | undefined {
  const outer = evenStride(view, 0, axis);
  const inner = evenStride(view, axis + 1, view.shape.length);
  if (outer === undefined || inner === undefined) return undefined;
  return [outer, view.strides[axis]!, inner];
}

/** The step of the axes `from <= a < to` walked as one. */
function evenStride({ shape, strides }: WasmView, from: number, to: number): number | undefined {
  let stride: number | undefined;
  let size = 1;
  for (let a = to - 1; a >= from; a--) {
    if (shape[a] === 1) continue;
    if (stride === undefined) stride = strides[a]!;
    else if (strides[a] !== stride * size) return undefined;
    size *= shape[a]!;
  }
  return stride ?? 0;
}
