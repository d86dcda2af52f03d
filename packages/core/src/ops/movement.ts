// Shape changes. They move no data: the scheduler turns them into views.

import { ShapeError } from "../errors.ts";
import { record1 } from "../record.ts";
import { checkShape, normalizeAxis, sameShape, show, sizeOf, type Shape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** The same elements in row-major order under another shape; one size may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const free = shape.indexOf(-1);
  let full = shape;
  if (free >= 0) {
    const rest = shape.reduce((a, n, i) => (i === free ? a : a * n), 1);
    full = shape.map((n, i) => (i === free ? (rest === 0 ? 0 : x.size / rest) : n));
  }
  if (full.some((n) => !Number.isInteger(n) || n < 0)) {
    throw new ShapeError("reshape", "sizes differ", {
      expected: `${x.size} elements as in ${show(x.shape)}`,
      got: show(shape),
    });
  }
  return sameShape(full, x.shape) ? x : record1("reshape", { shape: full }, [x]);
}

/** Output axis i is input axis `order[i]`. */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  const axes = order.map((a) => normalizeAxis("permute", a, x.rank));
  return axes.every((a, i) => a === i) && axes.length === x.rank
    ? x
    : record1("permute", { order: axes }, [x]);
}

/** Swaps two axes, by default the last two. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  const [i, j] = [normalizeAxis("transpose", a, x.rank), normalizeAxis("transpose", b, x.rank)];
  const order = x.shape.map((_, k) => (k === i ? j : k === j ? i : k));
  return permute(x, order);
}

/** Repeats axes of size 1 and adds leading ones (numpy's rule). */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  checkShape("broadcastTo", shape);
  if (shape.length < x.rank) {
    throw new ShapeError("broadcastTo", "fewer axes than the tensor", {
      expected: `at least ${x.rank}`,
      got: show(shape),
    });
  }
  const lead = shape.length - x.rank;
  const aligned = lead > 0 ? reshape(x, [...Array.from<number>({ length: lead }).fill(1), ...x.shape]) : x;
  return sameShape(aligned.shape, shape) ? aligned : record1("expand", { shape }, [aligned]);
}

/** Inserts an axis of size 1. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const a = normalizeAxis("unsqueeze", axis, x.rank + 1);
  return reshape(x, [...x.shape.slice(0, a), 1, ...x.shape.slice(a)]);
}

/** Removes axes of size 1: the given one, or all. */
export function squeeze(x: Tensor, axis?: number): Tensor {
  if (axis === undefined)
    return reshape(
      x,
      x.shape.filter((n) => n !== 1),
    );
  const a = normalizeAxis("squeeze", axis, x.rank);
  if (x.shape[a] !== 1) throw new ShapeError("squeeze", `axis ${axis} is not 1`, { got: show(x.shape) });
  return reshape(
    x,
    x.shape.filter((_, i) => i !== a),
  );
}

/** One axis of a slice: an index (removes the axis), a range, or everything. */
export type Index =
  | number
  | { readonly start?: number; readonly stop?: number; readonly step?: number }
  | null;

/**
 * Basic indexing; missing trailing axes are kept whole. Negative positions count from the end.
 * @example slice(x, [0, { start: 2, stop: -1 }, null, { step: -1 }])   // x[0, 2:-1, :, ::-1]
 */
export function slice(x: Tensor, index: readonly Index[]): Tensor {
  if (index.length > x.rank) {
    throw new ShapeError("slice", "too many indices", {
      expected: `at most ${x.rank} for ${show(x.shape)}`,
      got: `${index.length}`,
    });
  }
  const starts: number[] = [];
  const sizes: number[] = [];
  const steps: number[] = [];
  const dropped = new Set<number>();
  x.shape.forEach((n, axis) => {
    const at = index[axis] ?? null;
    if (typeof at === "number") {
      const i = at < 0 ? at + n : at;
      if (!Number.isInteger(at) || i < 0 || i >= n) {
        throw new ShapeError("slice", `index out of range on axis ${axis}`, {
          expected: `${-n}..${n - 1}`,
          got: `${at}`,
        });
      }
      starts.push(i);
      sizes.push(1);
      steps.push(1);
      dropped.add(axis);
      return;
    }
    const step = at?.step ?? 1;
    if (!Number.isInteger(step) || step === 0)
      throw new ShapeError("slice", "step must be a non-zero integer", { got: `${step}` });
    const limit = (v: number | undefined, otherwise: number): number => {
      if (v === undefined) return otherwise;
      const p = v < 0 ? v + n : v;
      return step > 0 ? Math.min(Math.max(p, 0), n) : Math.min(Math.max(p, -1), n - 1);
    };
    const start = limit(at?.start, step > 0 ? 0 : n - 1);
    const stop = limit(at?.stop, step > 0 ? n : -1);
    starts.push(start);
    sizes.push(Math.max(0, Math.ceil((stop - start) / step)));
    steps.push(step);
  });
  const whole = sizes.every((m, i) => m === x.shape[i] && steps[i] === 1);
  const cut = whole ? x : record1("slice", { starts, sizes, steps }, [x]);
  return dropped.size === 0
    ? cut
    : reshape(
        cut,
        sizes.filter((_, i) => !dropped.has(i)),
      );
}

/** Elements `start..stop-1` along one axis; unlike in {@link slice} they must be there. */
export function narrow(x: Tensor, axis: number, start: number, stop: number): Tensor {
  const a = normalizeAxis("narrow", axis, x.rank);
  const n = x.shape[a]!;
  if (!(start >= 0 && start <= stop && stop <= n)) {
    throw new ShapeError("narrow", `leaves axis ${a}`, {
      expected: `0 <= start <= stop <= ${n}`,
      got: `${start}..${stop}`,
    });
  }
  return slice(
    x,
    x.shape.map((_, i) => (i === a ? { start, stop } : null)),
  );
}

/** Reverses axes. */
export function flip(x: Tensor, axes: number | readonly number[]): Tensor {
  const list = (typeof axes === "number" ? [axes] : axes).map((a) => normalizeAxis("flip", a, x.rank));
  return slice(
    x,
    x.shape.map((_, i) => (list.includes(i) ? { step: -1 } : null)),
  );
}

/** Adds `value` before and after; one `[before, after]` per axis, counted from the last axes when fewer are given. */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[], value = 0): Tensor {
  if (widths.length > x.rank) {
    throw new ShapeError("pad", "more widths than axes", {
      expected: `at most ${x.rank}`,
      got: `${widths.length}`,
    });
  }
  const lead = Array.from({ length: x.rank - widths.length }, () => [0, 0] as const);
  const all = [...lead, ...widths];
  if (all.every(([a, b]) => a === 0 && b === 0)) return x;
  return record1("pad", { before: all.map(([a]) => a), after: all.map(([, b]) => b), value }, [x]);
}

/** Joins along an existing axis. */
export function concat(parts: readonly Tensor[], axis = 0): Tensor {
  if (parts.length === 0) throw new ShapeError("concat", "nothing to join");
  if (parts.length === 1) return parts[0]!;
  return record1("concat", { axis: normalizeAxis("concat", axis, parts[0]!.rank) }, parts);
}

/** Joins along a new axis. */
export function stack(parts: readonly Tensor[], axis = 0): Tensor {
  if (parts.length === 0) throw new ShapeError("stack", "nothing to join");
  return concat(
    parts.map((t) => unsqueeze(t, axis < 0 ? axis + t.rank + 1 : axis)),
    axis < 0 ? axis + parts[0]!.rank + 1 : axis,
  );
}

/** Cuts an axis into `count` equal parts, or parts of the given sizes. */
export function split(x: Tensor, parts: number | readonly number[], axis = 0): Tensor[] {
  const a = normalizeAxis("split", axis, x.rank);
  const n = x.shape[a]!;
  const sizes = typeof parts === "number" ? Array.from<number>({ length: parts }).fill(n / parts) : parts;
  if (sizes.some((s) => !Number.isInteger(s) || s < 0) || sizes.reduce((p, q) => p + q, 0) !== n) {
    throw new ShapeError("split", `parts do not add up on axis ${axis}`, {
      expected: `${n}`,
      got: show(sizes),
    });
  }
  let at = 0;
  return sizes.map((s) => narrow(x, a, at, (at += s)));
}

/** Shifts along an axis; what leaves at one end enters at the other. */
export function roll(x: Tensor, shift: number, axis = -1): Tensor {
  const a = normalizeAxis("roll", axis, x.rank);
  const n = x.shape[a]!;
  const s = n === 0 ? 0 : ((shift % n) + n) % n;
  return s === 0 ? x : concat([narrow(x, a, n - s, n), narrow(x, a, 0, n - s)], a);
}

/** Repeats the whole tensor `count` times along an axis. */
export function tile(x: Tensor, count: number, axis: number): Tensor {
  const a = normalizeAxis("tile", axis, x.rank);
  const wide = unsqueeze(x, a);
  const shape = wide.shape.map((n, i) => (i === a ? count : n));
  return reshape(
    broadcastTo(wide, shape),
    x.shape.map((n, i) => (i === a ? n * count : n)),
  );
}

/** Repeats every element `count` times along an axis (`a a b b`). */
export function repeat(x: Tensor, count: number, axis: number): Tensor {
  const a = normalizeAxis("repeat", axis, x.rank);
  const wide = unsqueeze(x, a + 1);
  const shape = wide.shape.map((n, i) => (i === a + 1 ? count : n));
  return reshape(
    broadcastTo(wide, shape),
    x.shape.map((n, i) => (i === a ? n * count : n)),
  );
}

/** Merges axes `from..to` into one. */
export function flattenAxes(x: Tensor, from = 0, to = -1): Tensor {
  const [i, j] = [normalizeAxis("flatten", from, x.rank), normalizeAxis("flatten", to, x.rank)];
  return reshape(x, [...x.shape.slice(0, i), sizeOf(x.shape.slice(i, j + 1)), ...x.shape.slice(j + 1)]);
}
