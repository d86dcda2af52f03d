// How far two arrays are apart.

import { readElement, type DType, type Tensor } from "@everlong/core";

type Numbers = ArrayLike<number>;

/**
 * `|got - want| / |want|` in the Euclidean norm; `|got|` when want is zero. Equal infinities and NaN in both count as
 * equal; NaN or an infinity on one side alone gives Infinity.
 */
export function relativeError(got: Numbers, want: Numbers): number {
  if (got.length !== want.length) return Infinity;
  let [error, norm] = [0, 0];
  for (let i = 0; i < got.length; i++) {
    const [a, b] = [got[i]!, want[i]!];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) {
      if (Number.isFinite(b)) norm += b * b;
      continue;
    }
    if (!Number.isFinite(a) || !Number.isFinite(b)) return Infinity;
    error += (a - b) ** 2;
    norm += b * b;
  }
  return Math.sqrt(norm > 0 ? error / norm : error);
}

/** Largest difference, in units of the largest wanted magnitude (or of 1 when all wanted values are zero). */
export function maxError(got: Numbers, want: Numbers): number {
  if (got.length !== want.length) return Infinity;
  let [error, scale] = [0, 0];
  for (let i = 0; i < got.length; i++) {
    const [a, b] = [got[i]!, want[i]!];
    if (Number.isFinite(b)) scale = Math.max(scale, Math.abs(b));
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    if (!Number.isFinite(a) || !Number.isFinite(b)) return Infinity;
    error = Math.max(error, Math.abs(a - b));
  }
  return scale > 0 ? error / scale : error;
}

/** The values of a tensor as doubles, whatever its dtype. */
export async function valuesOf(t: Tensor): Promise<Float64Array> {
  const dtype: DType = t.dtype;
  const data = await t.data();
  return Float64Array.from({ length: data.length }, (_, i) => readElement(dtype, data, i));
}

/** Relative error that rounding may leave in a well-conditioned result: 1e-12 in float64, 3e-6 in float32. */
export const roundingOf = ({ dtype }: Pick<Tensor, "dtype">): number => (dtype === "f64" ? 1e-12 : 3e-6);
