// HiPPO matrices and their normal-plus-low-rank form, in float64 on the host (Gu et al. 2020, 2022). It is not: a
// parameterisation; kernels start from what is computed here.

import { ConfigError } from "@everlong/core";
import { EigenvalueDecomposition, Matrix } from "ml-matrix";

export const HIPPO_MEASURES = ["legs", "legt", "fourier"] as const;
/** Scaled Legendre, translated Legendre, or truncated Fourier polynomials. */
export type HippoMeasure = (typeof HIPPO_MEASURES)[number];

/** A row of complex numbers. */
export interface ComplexRow {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

/** Row-major `a` `[N, N]` and `b` `[N]` of `x' = a x + b u`. */
export interface Transition {
  readonly a: Float64Array;
  readonly b: Float64Array;
}

/**
 * Transition of a HiPPO operator. `legs`: `a[n, k] = -sqrt((2n+1)(2k+1))` below the diagonal, `-(n+1)` on it, `b[n] =
 * sqrt(2n+1)`. `legt`, at half speed so that its window is 1: `a[n, k] = -sqrt((2n+1)(2k+1)) / 2`, times `(-1)^(n-k)` above the
 * diagonal. `fourier`: rotations by pi m less the outer product of b. Source: Gu et al. 2022, "How to Train Your HiPPO".
 */
export function hippoTransition(measure: HippoMeasure, size: number): Transition {
  if (!Number.isInteger(size) || size < 2 || size % 2 !== 0)
    throw new ConfigError("hippo", "the state size must be even", { got: `${size}` });
  const a = new Float64Array(size * size);
  const root = (n: number): number => Math.sqrt(2 * n + 1);
  if (measure === "legs") {
    for (let n = 0; n < size; n++)
      for (let k = 0; k <= n; k++) a[n * size + k] = n === k ? -(n + 1) : -root(n) * root(k);
    return { a, b: Float64Array.from({ length: size }, (_, n) => root(n)) };
  }
  if (measure === "legt") {
    for (let n = 0; n < size; n++)
      for (let k = 0; k < size; k++)
        a[n * size + k] = -0.5 * root(n) * root(k) * (n < k && (k - n) % 2 === 1 ? -1 : 1);
    return { a, b: Float64Array.from({ length: size }, (_, n) => 0.5 * root(n)) };
  }
  if (measure === "fourier") {
    const b = Float64Array.from({ length: size }, (_, n) => (n === 0 ? 1 : n % 2 === 0 ? Math.SQRT2 : 0));
    for (let n = 0; n < size; n++)
      for (let k = 0; k < size; k++) {
        const pair = Math.floor(Math.max(n, k) / 2);
        const turn = n === k + 1 && k % 2 === 0 ? pair : k === n + 1 && n % 2 === 0 ? -pair : 0;
        a[n * size + k] = Math.PI * turn - b[n]! * b[k]!;
      }
    return { a, b };
  }
  throw new ConfigError("hippo", `unknown measure "${String(measure)}"`, {
    expected: HIPPO_MEASURES.join(", "),
  });
}

/**
 * Vectors `p` `[R, N]` such that `a + sum_r p_r p_r^T` is a multiple of the identity plus a skew-symmetric matrix.
 * @param compat Fourier's vector and its outer product rounded to float32, as the original has them at any precision
 */
export function hippoCorrection(
  measure: HippoMeasure,
  size: number,
  rank: number,
  compat = false,
): Float64Array[] {
  const row = (fn: (n: number) => number): Float64Array =>
    Float64Array.from({ length: size }, (_, n) => fn(n));
  const needed =
    measure === "legs"
      ? [row((n) => Math.sqrt(n + 0.5))]
      : measure === "legt"
        ? [1, 0].map((parity) => row((n) => (n % 2 === parity ? Math.sqrt(n + 0.5) : 0)))
        : [row((n) => (n === 0 ? 1 : n % 2 === 0 ? (compat ? Math.fround(Math.SQRT2) : Math.SQRT2) : 0))];
  if (rank < needed.length)
    throw new ConfigError("hippo", `measure "${measure}" needs a higher rank`, {
      expected: `at least ${needed.length}`,
      got: `${rank}`,
    });
  return Array.from({ length: rank }, (_, r) => needed[r] ?? new Float64Array(size));
}

/** `A = V (diag(w) - P P^*) V^*`, one of each pair of conjugate modes: `w`, `b` `[N/2]`, `p` `[R][N/2]`. */
export interface NormalPlusLowRank {
  readonly w: ComplexRow;
  readonly p: readonly ComplexRow[];
  readonly b: ComplexRow;
}

/**
 * The normal-plus-low-rank form of a HiPPO operator, frequencies from the most negative up. The phase of each mode is
 * arbitrary: turning `p` and `b` of a mode together changes nothing.
 * @param compat as in {@link hippoCorrection}
 */
export function hippoNplr(measure: HippoMeasure, size: number, rank = 1, compat = false): NormalPlusLowRank {
  const { a, b } = hippoTransition(measure, size);
  const p = hippoCorrection(measure, size, rank, compat);
  const rounded = compat && measure === "fourier" ? Math.fround : (x: number): number => x;
  const normal = Float64Array.from(a, (x, i) => {
    const [n, k] = [Math.floor(i / size), i % size];
    return p.reduce((s, row) => s + rounded(row[n]! * row[k]!), x);
  });
  const decay =
    Array.from({ length: size }, (_, n) => normal[n * size + n]!).reduce((s, x) => s + x, 0) / size;
  const { frequencies, vectors } = negativeModes(normal, size);
  // Fourier's constant has a mode of frequency 0 in a plane of its own.
  const last = size / 2 - 1;
  if (Math.hypot(decay, frequencies[last]!) < 1e-4) {
    vectors[last] = { re: new Float64Array(size), im: new Float64Array(size) };
    vectors[last]!.re[0] = Math.SQRT1_2;
    vectors[last]!.im[1] = Math.SQRT1_2;
    frequencies[last] = 0;
  }
  const rotated = (row: Float64Array): ComplexRow => ({
    re: Float64Array.from(vectors, (v) => row.reduce((s, x, i) => s + x * v.re[i]!, 0)),
    im: Float64Array.from(vectors, (v) => row.reduce((s, x, i) => s - x * v.im[i]!, 0)),
  });
  return {
    w: { re: new Float64Array(size / 2).fill(decay), im: Float64Array.from(frequencies) },
    p: p.map(rotated),
    b: rotated(b),
  };
}

/**
 * The lower half of the spectrum of the Hermitian matrix `-i S`, S the skew-symmetric part of `a`. As a real symmetric matrix
 * of twice the size every eigenvalue comes twice, and any vector of its plane is an eigenvector up to its phase.
 */
function negativeModes(a: Float64Array, size: number): { frequencies: number[]; vectors: ComplexRow[] } {
  const real = new Matrix(2 * size, 2 * size);
  for (let n = 0; n < size; n++)
    for (let k = 0; k < size; k++) {
      const skew = (a[n * size + k]! - a[k * size + n]!) / 2;
      // -i S (x + i y) = S y - i S x
      real.set(n, size + k, skew);
      real.set(size + n, k, -skew);
    }
  const found = new EigenvalueDecomposition(real, { assumeSymmetric: true });
  const order = found.realEigenvalues.map((x, i) => [x, i] as const).sort((x, y) => x[0] - y[0]);
  const half = Array.from({ length: size / 2 }, (_, i) => order[2 * i]!);
  return {
    frequencies: half.map(([x], i) => (x + order[2 * i + 1]![0]) / 2),
    vectors: half.map(([, at]) => {
      const column = found.eigenvectorMatrix.getColumn(at);
      return { re: Float64Array.from(column.slice(0, size)), im: Float64Array.from(column.slice(size)) };
    }),
  };
}
