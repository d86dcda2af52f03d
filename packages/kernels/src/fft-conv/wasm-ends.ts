// The first and the last pass of a right-angle transform: between real lanes and the first level of the spectrum. README.md derives
// the twist that they carry.

import type { FunctionRef, ModuleBuilder, Variable, Vec } from "@everlong/wasm";
import { Algebra, type Complex } from "./wasm-codelets.ts";
import { elementBytes } from "./wasm-lengths.ts";

type I32Var = Variable<"i32">;
const C1 = Math.cos(Math.PI / 8);
const S1 = Math.sin(Math.PI / 8);
const H = Math.SQRT1_2;

// (data, work, step, twiddles): step = bytes of a quarter of the real sequence of length M
export function defineFirst(module: ModuleBuilder, both: boolean): FunctionRef {
  const es = elementBytes(module.target.width);
  const name = both ? "firstBoth" : "firstReal";
  return module.define(name, { params: ["i32", "i32", "i32", "i32"] }, (f, data, work, step, tw) => {
    const m = new Algebra(f);
    const { add, sub, mul, madd, nmadd } = f.f32x4;
    const unroll = 2;
    const wide = f.i32.shl(step, 1);
    const from = [0, 1, 2, 3].map((k) => f.variable("i32", f.i32.add(data, f.i32.mul(step, k))));
    // the second half of the sequence is minus the imaginary part
    const more = both ? from.map((p) => f.variable("i32", f.i32.add(p, f.i32.shl(step, 2)))) : [];
    const to = [0, 1, 2, 3].map((k) => f.variable("i32", f.i32.add(work, f.i32.mul(wide, k))));
    const stop = f.i32.add(data, step);
    const moves = [
      ...[...from, ...more].map((p) => [p, (unroll * es) / 2] as const),
      ...to.map((p) => [p, unroll * es] as const),
      [tw, 32 * unroll] as const,
    ];
    f.sweep(from[0]!, stop, moves, () => {
      for (let u = 0; u < unroll; u++) {
        const w = (k: number): Complex => m.twiddle(tw, 32 * u + 8 * k);
        const x = from.map((p) => f.mem.vec.load(p, (u * es) / 2)) as [Vec, Vec, Vec, Vec];
        const put = (k: number, z: Complex): void => m.store(to[k]!, u * es, m.mul(z, w(k)));
        if (!both) {
          // x_k exp(-i pi k / 8); s0 = (s0r, -hx), s1 = (s1r, hx), s2 = (s2r, -n2)
          const hx = mul(x[2], H);
          const [s0r, s1r] = [add(x[0], hx), sub(x[0], hx)];
          const [s2r, n2] = [madd(x[3], S1, mul(x[1], C1)), madd(x[3], C1, mul(x[1], S1))];
          const [s3r, s3i] = [nmadd(x[3], S1, mul(x[1], C1)), nmadd(x[1], S1, mul(x[3], C1))];
          const w0 = w(0);
          const [r0, n0] = [add(s0r, s2r), add(hx, n2)];
          m.store(to[0]!, u * es, {
            re: madd(n0, w0.im, mul(r0, w0.re)),
            im: nmadd(n0, w0.re, mul(r0, w0.im)),
          });
          put(1, { re: add(s1r, s3i), im: sub(hx, s3r) });
          put(2, { re: sub(s0r, s2r), im: sub(n2, hx) });
          put(3, { re: sub(s1r, s3i), im: add(hx, s3r) });
          continue;
        }
        // (x - i v) exp(-i pi k / 8) = (x c - v s) - i (x s + v c), kept with negated imaginary parts
        const v = more.map((p) => f.mem.vec.load(p, (u * es) / 2)) as [Vec, Vec, Vec, Vec];
        const turn = (k: number, c: number, s: number): { re: Vec; ni: Vec } => ({
          re: nmadd(v[k]!, s, mul(x[k]!, c)),
          ni: madd(v[k]!, c, mul(x[k]!, s)),
        });
        const [b, c, d] = [
          turn(1, C1, S1),
          { re: mul(sub(x[2], v[2]), H), ni: mul(add(x[2], v[2]), H) },
          turn(3, S1, C1),
        ];
        const [s0r, s0n] = [add(x[0], c.re), add(v[0], c.ni)];
        const [s1r, s1n] = [sub(x[0], c.re), sub(v[0], c.ni)];
        const [s2r, s2n] = [add(b.re, d.re), add(b.ni, d.ni)];
        const [s3r, s3n] = [sub(b.re, d.re), sub(b.ni, d.ni)];
        // z = (re, -n): z w = (re w.re + n w.im, re w.im - n w.re)
        const putNegated = (k: number, re: Vec, n: Vec): void => {
          const wk = w(k);
          m.store(to[k]!, u * es, {
            re: madd(n, wk.im, mul(re, wk.re)),
            im: nmadd(n, wk.re, mul(re, wk.im)),
          });
        };
        putNegated(0, add(s0r, s2r), add(s0n, s2n));
        // s1 - i s3 with s3 = (s3r, -s3n): re s1r - s3n, im -(s1n + s3r)
        putNegated(1, sub(s1r, s3n), add(s1n, s3r));
        putNegated(2, sub(s0r, s2r), sub(s0n, s2n));
        putNegated(3, add(s1r, s3n), sub(s1n, s3r));
      }
    });
  });
}

// (work, data, step, twiddles)
export function defineLast(module: ModuleBuilder, both: boolean): FunctionRef {
  const es = elementBytes(module.target.width);
  const name = both ? "lastBoth" : "lastReal";
  return module.define(name, { params: ["i32", "i32", "i32", "i32"] }, (f, work, data, step, tw) => {
    const m = new Algebra(f);
    const { add, sub, mul, nmadd } = f.f32x4;
    const unroll = 2;
    const wide = f.i32.shl(step, 1);
    const from = [0, 1, 2, 3].map((k) => f.variable("i32", f.i32.add(work, f.i32.mul(wide, k))));
    const to = [0, 1, 2, 3].map((k) => f.variable("i32", f.i32.add(data, f.i32.mul(step, k))));
    const more = both ? to.map((p) => f.variable("i32", f.i32.add(p, f.i32.shl(step, 2)))) : [];
    const stop = f.i32.add(data, step);
    const moves = [
      ...from.map((p) => [p, unroll * es] as const),
      ...[...to, ...more].map((p) => [p, (unroll * es) / 2] as const),
      [tw, 32 * unroll] as const,
    ];
    f.sweep(to[0]!, stop, moves, () => {
      for (let u = 0; u < unroll; u++) {
        const get = (k: number): Complex =>
          m.mulConj(m.load(from[k]!, u * es), m.twiddle(tw, 32 * u + 8 * k));
        const [a, c] = [get(0), get(2)];
        const [s0, s1] = [m.add(a, c), m.sub(a, c)];
        const [b, d] = [get(1), get(3)];
        const [s2, s3] = [m.add(b, d), m.sub(b, d)];
        const put = (p: readonly I32Var[], k: number, v: Vec): void =>
          f.mem.vec.store(p[k]!, (u * es) / 2, v);
        // x_k exp(i pi k / 8): the real part is the sequence, minus the imaginary part its second half
        const y1r = sub(s1.re, s3.im);
        const y1i = add(s1.im, s3.re);
        const y2r = sub(s0.re, s2.re);
        const y2i = sub(s0.im, s2.im);
        const y3r = add(s1.re, s3.im);
        const y3i = sub(s1.im, s3.re);
        put(to, 0, add(s0.re, s2.re));
        put(to, 1, nmadd(y1i, S1, mul(y1r, C1)));
        put(to, 2, mul(sub(y2r, y2i), H));
        put(to, 3, nmadd(y3i, C1, mul(y3r, S1)));
        if (!both) continue;
        put(more, 0, sub(mul(s0.im, -1), s2.im));
        put(more, 1, nmadd(y1r, S1, mul(y1i, -C1)));
        put(more, 2, mul(add(y2r, y2i), -H));
        put(more, 3, nmadd(y3r, C1, mul(y3i, -S1)));
      }
    });
  });
}
