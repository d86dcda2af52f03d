// Spectra of real sequences of 2 N points out of transforms of N complex ones, whose parts are the even and the odd points: frequencies k
// and N - k come out of each other's pair and go back into it.

import type { FunctionRef, ModuleBuilder } from "@everlong/wasm";
import { Algebra, type Complex } from "../fft-conv/wasm-codelets.ts";
import { elementBytes } from "../fft-conv/wasm-lengths.ts";

const conj = (m: Algebra, z: Complex): Complex => ({ re: z.re, im: m.f.f32x4.neg(z.im) });
const timesI = (m: Algebra, z: Complex): Complex => ({ re: m.f.f32x4.neg(z.im), im: z.re });

/** What becomes of a pair of frequencies. */
export type PairWork = "filter" | "multiply" | "multiplyConj";

/**
 * `(work, spectrum, pairs, gains, count)` over `count` pairs. `filter`: from a transform at `work` to a kept spectrum, times the gains.
 * `multiply`: from a transform to that of the product with the kept spectrum (or its conjugate). `both`: frequencies N - k are kept too.
 */
export function definePairs(module: ModuleBuilder, work: PairWork, both: boolean): FunctionRef {
  const es = elementBytes(module.target.width);
  return module.define(
    `pairs-${work}${both ? "Both" : ""}`,
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, data, spectrum, pairs, gains, count) => {
      const m = new Algebra(f);
      f.loop(0, count, 1, () => {
        const at = f.i32.muladd(f.mem.i32.load(pairs), es, data);
        const other = f.i32.muladd(f.mem.i32.load(pairs, 4), es, data);
        const w = m.twiddle(pairs, 8);
        const z = m.load(at, 0);
        const mirrored = conj(m, m.load(other, 0));
        const even = m.add(z, mirrored);
        // -i (z - z'), turned
        const difference = m.sub(z, mirrored);
        const odd = m.mul({ re: difference.im, im: f.f32x4.neg(difference.re) }, w);
        const low = m.add(even, odd);
        const high = both ? conj(m, m.sub(even, odd)) : undefined;
        if (work === "filter") {
          const scaled = (x: Complex, offset: number): Complex => {
            const gain = f.mem.vec.load32Splat(gains, offset);
            return { re: f.f32x4.mul(x.re, gain), im: f.f32x4.mul(x.im, gain) };
          };
          m.store(spectrum, 0, scaled(low, 0));
          if (high) m.store(spectrum, es, scaled(high, 4));
          f.advance(gains, 8);
        } else {
          const product = (x: Complex, offset: number): Complex =>
            work === "multiply" ? m.mul(x, m.load(spectrum, offset)) : m.mulConj(x, m.load(spectrum, offset));
          const y = product(low, 0);
          const back = high ? conj(m, product(high, es)) : undefined;
          const newEven = back ? m.add(y, back) : y;
          const newOdd = timesI(m, m.mulConj(back ? m.sub(y, back) : y, w));
          m.store(at, 0, m.add(newEven, newOdd));
          m.store(other, 0, conj(m, m.sub(newEven, newOdd)));
        }
        f.advance(spectrum, 2 * es);
        f.advance(pairs, 16);
      });
    },
  );
}

/** `(work, pairs, count)`: zeros at both frequencies of `count` pairs. */
export function defineClearPairs(module: ModuleBuilder): FunctionRef {
  const es = elementBytes(module.target.width);
  return module.define("clearPairs", { params: ["i32", "i32", "i32"] }, (f, data, pairs, count) => {
    f.loop(0, count, 1, () => {
      for (const offset of [0, 4]) {
        const at = f.i32.muladd(f.mem.i32.load(pairs, offset), es, data);
        f.mem.vec.store(at, 0, 0);
        f.mem.vec.store(at, es / 2, 0);
      }
      f.advance(pairs, 16);
    });
  });
}
