// Gather, scatter and what is built on them.

import type { DType } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { record1 } from "../record.ts";
import { normalizeAxis, show } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { iota, zeros } from "./creation.ts";
import { cast, equal } from "./elementwise.ts";
import { broadcastTo, reshape, unsqueeze } from "./movement.ts";

const asIndex = (op: string, t: Tensor): Tensor => {
  if (t.dtype === "i32") return t;
  if (t.dtype === "u8" || t.dtype === "bool") return cast(t, "i32");
  throw new DTypeError(op, "needs integer indices", { expected: "i32 or u8", got: t.dtype });
};

/**
 * Picks along `axis` with indices of the same rank: `out[..., i, ...] = x[..., indices[..., i, ...], ...]`.
 * Indices outside the axis are clamped to its ends.
 */
export const takeAlong = (x: Tensor, indices: Tensor, axis = -1): Tensor =>
  record1("gather", { axis: normalizeAxis("takeAlong", axis, x.rank) }, [x, asIndex("takeAlong", indices)]);

/** Whole slices of `x` along `axis`: `[..., n, ...]` with indices `[...I]` gives `[..., ...I, ...]`. */
export function take(x: Tensor, indices: Tensor, axis = 0): Tensor {
  const a = normalizeAxis("take", axis, x.rank);
  const [before, behind] = [x.shape.slice(0, a), x.shape.slice(a + 1)];
  const flat = reshape(asIndex("take", indices), [
    ...before.map(() => 1),
    indices.size,
    ...behind.map(() => 1),
  ]);
  const wide = broadcastTo(flat, [...before, indices.size, ...behind]);
  return reshape(record1("gather", { axis: a }, [x, wide]), [...before, ...indices.shape, ...behind]);
}

/** `base` with `updates` added at `indices` along `axis` (layout as in {@link takeAlong}); out of range is dropped. */
export const scatterAdd = (base: Tensor, indices: Tensor, updates: Tensor, axis = -1): Tensor =>
  record1("scatter", { axis: normalizeAxis("scatterAdd", axis, base.rank), mode: "add" }, [
    base,
    asIndex("scatterAdd", indices),
    updates,
  ]);

/** As {@link scatterAdd}, but the last update in index order replaces. */
export const scatterSet = (base: Tensor, indices: Tensor, updates: Tensor, axis = -1): Tensor =>
  record1("scatter", { axis: normalizeAxis("scatterSet", axis, base.rank), mode: "set" }, [
    base,
    asIndex("scatterSet", indices),
    updates,
  ]);

/** `[...I]` class numbers to `[...I, classes]`; numbers outside give a zero row. */
export function oneHot(indices: Tensor, classes: number, dtype?: DType): Tensor {
  const wide = [...indices.shape, classes];
  const at = broadcastTo(unsqueeze(asIndex("oneHot", indices), -1), wide);
  const hot = equal(at, iota(wide, indices.rank, { device: indices.device }));
  return cast(hot, dtype ?? indices.device.defaultFloat);
}

/** Sums rows of `values` `[n, ...]` into `segments` groups named by `ids` `[n]`. */
export function segmentSum(values: Tensor, ids: Tensor, segments: number): Tensor {
  if (ids.rank !== 1 || ids.shape[0] !== values.shape[0]) {
    throw new ShapeError("segmentSum", "one id per row", {
      expected: `[${values.shape[0]}]`,
      got: show(ids.shape),
    });
  }
  const wide = broadcastTo(
    reshape(asIndex("segmentSum", ids), [-1, ...values.shape.slice(1).map(() => 1)]),
    values.shape,
  );
  const base = zeros([segments, ...values.shape.slice(1)], { dtype: values.dtype, device: values.device });
  return scatterAdd(base, wide, values, 0);
}
