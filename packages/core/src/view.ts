// Views: strided windows on a contiguous buffer, and how the movement primitives change them.

import type { View } from "./device.ts";
import type { Operation } from "./primitives.ts";
import { contiguousStrides, sizeOf, type Shape } from "./shape.ts";

export const contiguousView = (shape: Shape): View => ({
  shape,
  strides: contiguousStrides(shape),
  offset: 0,
});

/** Whether the view covers its elements densely in row-major order, from offset 0. */
export function isContiguous(view: View): boolean {
  return view.offset === 0 && isDense(view);
}

/** As {@link isContiguous}, at any offset. */
export function isDense({ shape, strides }: View): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}

/** The view after a movement operation, or undefined when a reshape needs a copy. */
export function moveView(view: View, operation: Operation): View | undefined {
  switch (operation.name) {
    case "reshape":
      return reshapeView(view, operation.params.shape);
    case "permute": {
      const { order } = operation.params;
      return {
        shape: order.map((i) => view.shape[i]!),
        strides: order.map((i) => view.strides[i]!),
        offset: view.offset,
      };
    }
    case "expand": {
      const { shape } = operation.params;
      return {
        shape,
        strides: view.strides.map((s, i) => (view.shape[i] === 1 && shape[i] !== 1 ? 0 : s)),
        offset: view.offset,
      };
    }
    case "slice": {
      const { starts, sizes, steps } = operation.params;
      let { offset } = view;
      // An empty view has no first element; its offset stays inside the buffer.
      if (sizeOf(sizes) > 0) starts.forEach((s, i) => (offset += s * view.strides[i]!));
      return { shape: sizes, strides: view.strides.map((s, i) => s * steps[i]!), offset };
    }
    default:
      return undefined;
  }
}

function reshapeView(view: View, shape: Shape): View | undefined {
  if (sizeOf(shape) === 0) return { shape, strides: contiguousStrides(shape), offset: 0 };
  // Match runs of old axes with runs of new axes of the same product; each run must be dense in itself.
  const old = view.shape.map((n, i) => ({ n, s: view.strides[i]! })).filter(({ n }) => n !== 1);
  const strides = Array.from<number>({ length: shape.length }).fill(0);
  let i = old.length - 1;
  let j = shape.length - 1;
  while (j >= 0) {
    if (shape[j] === 1) {
      strides[j] = 0;
      j--;
      continue;
    }
    if (i < 0) return undefined;
    let { n: have, s: step } = old[i]!;
    const stride = step;
    let from = i - 1;
    let want = shape[j]!;
    let to = j - 1;
    while (have !== want) {
      if (have < want) {
        if (from < 0) return undefined;
        const next = old[from]!;
        if (next.s !== stride * have) return undefined;
        have *= next.n;
        from--;
      } else {
        if (to < 0) return undefined;
        want *= shape[to]!;
        to--;
      }
    }
    step = stride;
    for (let k = j; k > to; k--) {
      strides[k] = shape[k] === 1 ? 0 : step;
      step *= shape[k]!;
    }
    i = from;
    j = to;
  }
  if (i >= 0) return undefined;
  // Axes of size 1 get a harmless stride, so that dense stays recognisable.
  return { shape, strides, offset: view.offset };
}

/** Merges neighbouring axes that every view walks as one; drops axes of size 1. Keeps at least one axis. */
export function collapse(
  shape: Shape,
  views: readonly (readonly number[])[],
): { shape: number[]; strides: number[][] } {
  const outShape: number[] = [];
  const outStrides: number[][] = views.map(() => []);
  for (let i = 0; i < shape.length; i++) {
    const n = shape[i]!;
    if (n === 1) continue;
    const last = outShape.length - 1;
    const merges = last >= 0 && views.every((s, v) => outStrides[v]![last] === s[i]! * n);
    if (merges) {
      outShape[last]! *= n;
      views.forEach((s, v) => (outStrides[v]![last] = s[i]!));
    } else {
      outShape.push(n);
      views.forEach((s, v) => outStrides[v]!.push(s[i]!));
    }
  }
  if (outShape.length === 0) {
    outShape.push(1);
    for (const s of outStrides) s.push(0);
  }
  return { shape: outShape, strides: outStrides };
}
