// Complex arithmetic per lane, and the innermost transforms written out.

import type { FunctionBuilder, Value, Vec } from "@everlong/wasm";
import type { Leaf } from "./wasm-lengths.ts";

/** A complex number per lane. */
export interface Complex {
  readonly re: Vec;
  readonly im: Vec;
}

/** Arithmetic on complex vectors. */
export class Algebra {
  readonly f: FunctionBuilder;
  /** Bytes from the real to the imaginary part. */
  readonly half: number;

  constructor(f: FunctionBuilder) {
    this.f = f;
    this.half = 16 * f.width;
  }

  load(at: Value<"i32">, offset: number): Complex {
    return { re: this.f.mem.vec.load(at, offset), im: this.f.mem.vec.load(at, offset + this.half) };
  }

  store(at: Value<"i32">, offset: number, z: Complex): void {
    this.f.mem.vec.store(at, offset, z.re);
    this.f.mem.vec.store(at, offset + this.half, z.im);
  }

  twiddle(at: Value<"i32">, offset: number): Complex {
    return { re: this.f.mem.vec.load32Splat(at, offset), im: this.f.mem.vec.load32Splat(at, offset + 4) };
  }

  add(a: Complex, b: Complex): Complex {
    return { re: this.f.f32x4.add(a.re, b.re), im: this.f.f32x4.add(a.im, b.im) };
  }

  sub(a: Complex, b: Complex): Complex {
    return { re: this.f.f32x4.sub(a.re, b.re), im: this.f.f32x4.sub(a.im, b.im) };
  }

  /** a + i b */
  addTurned(a: Complex, b: Complex): Complex {
    return { re: this.f.f32x4.sub(a.re, b.im), im: this.f.f32x4.add(a.im, b.re) };
  }

  /** a - i b */
  subTurned(a: Complex, b: Complex): Complex {
    return { re: this.f.f32x4.add(a.re, b.im), im: this.f.f32x4.sub(a.im, b.re) };
  }

  mul(a: Complex, b: Complex): Complex {
    const { mul, madd, nmadd } = this.f.f32x4;
    return { re: nmadd(a.im, b.im, mul(a.re, b.re)), im: madd(a.im, b.re, mul(a.re, b.im)) };
  }

  /** a conj(b) */
  mulConj(a: Complex, b: Complex): Complex {
    const { mul, madd, nmadd } = this.f.f32x4;
    return { re: madd(a.im, b.im, mul(a.re, b.re)), im: nmadd(a.re, b.im, mul(a.im, b.re)) };
  }

  scale(a: Complex, c: number): Complex {
    return { re: this.f.f32x4.mul(a.re, c), im: this.f.f32x4.mul(a.im, c) };
  }

  /** c a + b, real c. */
  axpy(c: number, a: Complex, b: Complex): Complex {
    return { re: this.f.f32x4.madd(a.re, c, b.re), im: this.f.f32x4.madd(a.im, c, b.im) };
  }
}

const H = Math.SQRT1_2;

export type Codelet = (m: Algebra, x: readonly Complex[], inverse: boolean) => Complex[];

const dft2: Codelet = (m, [a, b]) => [m.add(a!, b!), m.sub(a!, b!)];

const dft4: Codelet = (m, [a, b, c, d], inverse) => {
  const [s0, s1, s2, s3] = [m.add(a!, c!), m.sub(a!, c!), m.add(b!, d!), m.sub(b!, d!)];
  const [minus, plus] = [m.subTurned(s1, s3), m.addTurned(s1, s3)];
  return [m.add(s0, s2), inverse ? plus : minus, m.sub(s0, s2), inverse ? minus : plus];
};

const dft3: Codelet = (m, [a, b, c], inverse) => {
  const sum = m.add(b!, c!);
  const turn = m.scale(m.sub(b!, c!), Math.sqrt(3) / 2);
  const middle = m.axpy(-0.5, sum, a!);
  const [minus, plus] = [m.subTurned(middle, turn), m.addTurned(middle, turn)];
  return [m.add(a!, sum), inverse ? plus : minus, inverse ? minus : plus];
};

const dft5: Codelet = (m, [a, b, c, d, e], inverse) => {
  const [p1, p2, q1, q2] = [m.add(b!, e!), m.add(c!, d!), m.sub(b!, e!), m.sub(c!, d!)];
  const [c1, c2] = [Math.cos((2 * Math.PI) / 5), Math.cos((4 * Math.PI) / 5)];
  const [s1, s2] = [Math.sin((2 * Math.PI) / 5), Math.sin((4 * Math.PI) / 5)];
  const r1 = m.axpy(c1, p1, m.axpy(c2, p2, a!));
  const r2 = m.axpy(c2, p1, m.axpy(c1, p2, a!));
  const t1 = m.axpy(s1, q1, m.scale(q2, s2));
  const t2 = m.axpy(s2, q1, m.scale(q2, -s1));
  const pairs = [m.subTurned(r1, t1), m.subTurned(r2, t2), m.addTurned(r2, t2), m.addTurned(r1, t1)];
  if (inverse) pairs.reverse();
  return [m.add(a!, m.add(p1, p2)), ...pairs];
};

/** z times exp(-+ 2 pi i k / 8). */
function eighth(m: Algebra, z: Complex, k: number, inverse: boolean): Complex {
  const { add, sub, mul, neg } = m.f.f32x4;
  const turn = inverse ? (8 - k) % 8 : k;
  switch (turn) {
    case 1:
      return { re: mul(add(z.re, z.im), H), im: mul(sub(z.im, z.re), H) };
    case 2:
      return { re: z.im, im: neg(z.re) };
    case 3:
      return { re: mul(sub(z.im, z.re), H), im: mul(add(z.re, z.im), -H) };
    case 5:
      return { re: mul(add(z.re, z.im), -H), im: mul(sub(z.re, z.im), H) };
    case 6:
      return { re: neg(z.im), im: z.re };
    case 7:
      return { re: mul(sub(z.re, z.im), H), im: mul(add(z.re, z.im), H) };
    default:
      return z;
  }
}

const dft8: Codelet = (m, x, inverse) => {
  const even = dft4(m, [x[0]!, x[2]!, x[4]!, x[6]!], inverse);
  const odd = dft4(m, [x[1]!, x[3]!, x[5]!, x[7]!], inverse).map((z, k) => eighth(m, z, k, inverse));
  return [...even.map((e, k) => m.add(e, odd[k]!)), ...even.map((e, k) => m.sub(e, odd[k]!))];
};

/** Two interleaved transforms of odd length r, without twiddles (Good and Thomas): n = (r a + 2 b) mod 2r. */
const twice =
  (r: 3 | 5, small: Codelet): Codelet =>
  (m, x, inverse) => {
    const n = 2 * r;
    const rows = [0, 1].map((a) =>
      small(
        m,
        Array.from({ length: r }, (_, b) => x[(r * a + 2 * b) % n]!),
        inverse,
      ),
    );
    const out: Complex[] = [];
    for (let b = 0; b < r; b++) {
      const pair = dft2(m, [rows[0]![b]!, rows[1]![b]!], inverse);
      // output index k with k = a mod 2 and k = 2^-1-scaled b mod r
      for (const a of [0, 1])
        for (let k = 0; k < n; k++) if (k % 2 === a && (k - b) % r === 0) out[k] = pair[a]!;
    }
    return out;
  };

/** Transforms by length, natural order in and out, unscaled. */
export const CODELETS: { readonly [L in Leaf]: Codelet } = {
  3: dft3,
  4: dft4,
  5: dft5,
  6: twice(3, dft3),
  8: dft8,
  10: twice(5, dft5),
};
