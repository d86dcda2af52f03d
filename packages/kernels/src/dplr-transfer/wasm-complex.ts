// Complex float64 vectors in WebAssembly.

import type { FunctionBuilder, Vec } from "@everlong/wasm";

export interface Pair {
  readonly re: Vec;
  readonly im: Vec;
}

export interface ComplexOps {
  readonly add: (a: Pair, b: Pair) => Pair;
  readonly sub: (a: Pair, b: Pair) => Pair;
  readonly mul: (a: Pair, b: Pair) => Pair;
  readonly negMul: (a: Pair, b: Pair) => Pair;
  /** `c + a b` and `c - a b`. */
  readonly madd: (a: Pair, b: Pair, c: Pair) => Pair;
  readonly nmadd: (a: Pair, b: Pair, c: Pair) => Pair;
  readonly inverse: (a: Pair) => Pair;
}

export function complexOps(f: FunctionBuilder): ComplexOps {
  const x = f.f64x2;
  return {
    add: (a, b) => ({ re: x.add(a.re, b.re), im: x.add(a.im, b.im) }),
    sub: (a, b) => ({ re: x.sub(a.re, b.re), im: x.sub(a.im, b.im) }),
    mul: (a, b) => ({
      re: x.nmadd(a.im, b.im, x.mul(a.re, b.re)),
      im: x.madd(a.im, b.re, x.mul(a.re, b.im)),
    }),
    negMul: (a, b) => ({
      re: x.nmadd(a.re, b.re, x.mul(a.im, b.im)),
      im: x.neg(x.madd(a.im, b.re, x.mul(a.re, b.im))),
    }),
    madd: (a, b, c) => ({
      re: x.nmadd(a.im, b.im, x.madd(a.re, b.re, c.re)),
      im: x.madd(a.im, b.re, x.madd(a.re, b.im, c.im)),
    }),
    nmadd: (a, b, c) => ({
      re: x.madd(a.im, b.im, x.nmadd(a.re, b.re, c.re)),
      im: x.nmadd(a.im, b.re, x.nmadd(a.re, b.im, c.im)),
    }),
    inverse: (a) => {
      const size = x.div(x.splat(1, a.re.parts.length), x.madd(a.re, a.re, x.mul(a.im, a.im)));
      return { re: x.mul(a.re, size), im: x.mul(x.neg(a.im), size) };
    },
  };
}

/** The inverse of a small matrix by elimination without pivots, all unrolled. */
export function inverseOf(z: ComplexOps, matrix: readonly (readonly Pair[])[]): readonly (readonly Pair[])[] {
  const m = matrix.map((row) => [...row]);
  for (const [k, row] of m.entries()) {
    const pivot = z.inverse(row[k]!);
    row.forEach((value, j) => (row[j] = j === k ? pivot : z.mul(value, pivot)));
    for (const other of m) {
      if (other === row) continue;
      const factor = other[k]!;
      other.forEach((value, j) => {
        other[j] = j === k ? z.negMul(factor, pivot) : z.nmadd(factor, row[j]!, value);
      });
    }
  }
  return m;
}
