// Small systems of equations whose elements are tensors.

import type { Complex } from "@everlong/core";

/**
 * Solves `matrix x = right` for every element of the tensors, `matrix` `[R][R]` and `right` `[R]` of one shape, by elimination without
 * pivots: for matrices whose eigenvalues have positive real parts.
 */
export function solveComplex(matrix: readonly (readonly Complex[])[], right: readonly Complex[]): Complex[] {
  const m = matrix.map((row) => [...row]);
  const x = [...right];
  for (let i = 0; i < right.length; i++) {
    const pivot = m[i]![i]!.reciprocal();
    m[i] = m[i]!.map((z) => z.mul(pivot));
    x[i] = x[i]!.mul(pivot);
    for (let j = 0; j < right.length; j++) {
      if (j === i) continue;
      const factor = m[j]![i]!;
      m[j] = m[j]!.map((z, k) => (k < i ? z : z.sub(factor.mul(m[i]![k]!))));
      x[j] = x[j]!.sub(factor.mul(x[i]!));
    }
  }
  return x;
}
