// Emits the complex transform. Lanes are rows: a group of rows is brought into scratch memory as points of (re of all lanes)(im of
// all lanes), transformed by Stockham passes (decimation in frequency, sorting themselves) between two buffers, and written back.
// Lengths with large prime factors go through a convolution with a chirp (L. Bluestein, 1970).

import type { FunctionBuilder, FunctionRef, I32, ModuleBuilder, Value, Variable, Vec } from "@everlong/wasm";
import { minU } from "../row-cursor.ts";
import { defineUnits, type Words } from "./units.ts";

/** Argument words; the list of passes (radix, groups, stride, byte offset of twiddles) follows. */
export const FFT_ARGS = {
  re: 0,
  im: 1,
  outRe: 2,
  outIm: 3,
  rows: 4,
  points: 5,
  /** Length of the passes: `points`, or that of the chirp's convolution. */
  length: 6,
  passes: 7,
  twiddles: 8,
  /** Tables of the chirp, or 0. */
  chirp: 9,
  spectrum: 10,
  chirpBack: 11,
} as const;
export const FFT_ARG_WORDS = 12;
export const RADICES = [4, 2, 3, 5] as const;
type Radix = (typeof RADICES)[number];

interface Complex {
  readonly re: Vec;
  readonly im: Vec;
}

const pointBytes = (f: FunctionBuilder): number => 8 * f.lanes;
const half = (f: FunctionBuilder): number => 4 * f.lanes;

const load = (f: FunctionBuilder, at: I32): Complex => ({
  re: f.mem.vec.load(at),
  im: f.mem.vec.load(at, half(f)),
});
const store = (f: FunctionBuilder, at: I32, z: Complex): void => {
  f.mem.vec.store(at, 0, z.re);
  f.mem.vec.store(at, half(f), z.im);
};
const add = (f: FunctionBuilder, a: Complex, b: Complex): Complex => ({
  re: f.f32x4.add(a.re, b.re),
  im: f.f32x4.add(a.im, b.im),
});
const sub = (f: FunctionBuilder, a: Complex, b: Complex): Complex => ({
  re: f.f32x4.sub(a.re, b.re),
  im: f.f32x4.sub(a.im, b.im),
});
const times = (f: FunctionBuilder, a: Complex, w: Complex): Complex => ({
  re: f.f32x4.nmadd(a.im, w.im, f.f32x4.mul(a.re, w.re)),
  im: f.f32x4.madd(a.im, w.re, f.f32x4.mul(a.re, w.im)),
});
const scaled = (f: FunctionBuilder, a: Complex, s: number): Complex => ({
  re: f.f32x4.mul(a.re, s),
  im: f.f32x4.mul(a.im, s),
});
/** a + s b. */
const plus = (f: FunctionBuilder, a: Complex, b: Complex, s: number): Complex => ({
  re: f.f32x4.madd(b.re, s, a.re),
  im: f.f32x4.madd(b.im, s, a.im),
});
/** -i a. */
const turned = (f: FunctionBuilder, a: Complex): Complex => ({ re: a.im, im: f.f32x4.neg(a.re) });

/** The transform of `radix` values. */
function butterfly(f: FunctionBuilder, radix: Radix, x: readonly Complex[]): Complex[] {
  const [a, b, c, d, e] = x as [Complex, Complex, Complex, Complex, Complex];
  if (radix === 2) return [add(f, a, b), sub(f, a, b)];
  if (radix === 4) {
    const [s, t] = [add(f, a, c), sub(f, a, c)];
    const [u, v] = [add(f, b, d), turned(f, sub(f, b, d))];
    return [add(f, s, u), add(f, t, v), sub(f, s, u), sub(f, t, v)];
  }
  if (radix === 3) {
    const s = add(f, b, c);
    const t = turned(f, scaled(f, sub(f, b, c), Math.sqrt(3) / 2));
    const m = plus(f, a, s, -0.5);
    return [add(f, a, s), add(f, m, t), sub(f, m, t)];
  }
  const angle = (2 * Math.PI) / 5;
  const [s1, s2] = [add(f, b, e), add(f, c, d)];
  const [t1, t2] = [sub(f, b, e), sub(f, c, d)];
  const m1 = plus(f, plus(f, a, s1, Math.cos(angle)), s2, Math.cos(2 * angle));
  const m2 = plus(f, plus(f, a, s1, Math.cos(2 * angle)), s2, Math.cos(angle));
  const n1 = turned(f, plus(f, scaled(f, t1, Math.sin(angle)), t2, Math.sin(2 * angle)));
  const n2 = turned(f, plus(f, scaled(f, t1, Math.sin(2 * angle)), t2, -Math.sin(angle)));
  return [add(f, a, add(f, s1, s2)), add(f, m1, n1), add(f, m2, n2), sub(f, m2, n2), sub(f, m1, n1)];
}

/** A pass: `groups` twiddle groups of `stride` neighbouring butterflies each. */
function definePass(module: ModuleBuilder, radix: Radix): FunctionRef {
  return module.define(
    `pass${radix}`,
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, source, target, groups, stride, twiddles) => {
      const bytes = pointBytes(f);
      const run = f.i32.mul(stride, bytes);
      // Inputs of a butterfly lie a radix-th of the length apart, outputs a stride.
      const apart = f.i32.mul(groups, run);
      const from = f.variable("i32", source);
      const to = f.variable("i32", target);
      f.loop(0, groups, 1, () => {
        const w = Array.from({ length: radix - 1 }, (_, k): Complex => ({
          re: f.mem.vec.load32Splat(twiddles, 8 * k),
          im: f.mem.vec.load32Splat(twiddles, 8 * k + 4),
        }));
        const end = f.i32.add(from, run);
        const out = f.variable("i32", to);
        f.doWhile(() => {
          const at: Value<"i32">[] = [from];
          for (let k = 1; k < radix; k++) at.push(f.i32.add(at[k - 1]!, apart));
          const y = butterfly(
            f,
            radix,
            at.map((p) => load(f, p)),
          );
          const place: Value<"i32">[] = [out];
          for (let k = 1; k < radix; k++) place.push(f.i32.add(place[k - 1]!, run));
          y.forEach((z, k) => store(f, place[k]!, k === 0 ? z : times(f, z, w[k - 1]!)));
          f.advance(from, bytes);
          f.advance(out, bytes);
          return f.i32.ltU(from, end);
        });
        f.advance(to, f.i32.mul(run, radix));
        f.advance(twiddles, 8 * (radix - 1));
      });
    },
  );
}

/** Transposes between rows in memory and points in scratch, four points of four rows at a time. */
function defineStage(module: ModuleBuilder, name: "loadRows" | "storeRows"): FunctionRef {
  const toScratch = name === "loadRows";
  // (array, first row, rows, points, scratch): one of re and im.
  return module.define(
    name,
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, array, first, rows, points, scratch) => {
      const bytes = pointBytes(f);
      const rowBytes = f.i32.shl(points, 2);
      const last = f.i32.sub(rows, 1);
      // Lanes beyond the last row repeat it.
      const at = Array.from({ length: f.lanes }, (_, lane) =>
        f.variable("i32", f.i32.add(array, f.i32.mul(minU(f, f.i32.add(first, lane), last), rowBytes))),
      );
      const point = f.variable("i32", scratch);
      const fours = f.i32.shrU(points, 2);
      f.loop(0, fours, 1, () => {
        for (let lane = 0; lane < f.lanes; lane += 4) {
          const corner = 4 * lane;
          const v = [0, 1, 2, 3].map((k) =>
            toScratch ? f.mem.vec.load(at[lane + k]!, 0, 1) : f.mem.vec.load(point, k * bytes + corner, 1),
          ) as [Vec, Vec, Vec, Vec];
          transposed(f, v).forEach((t, k) =>
            toScratch ? f.mem.vec.store(point, k * bytes + corner, t) : f.mem.vec.store(at[lane + k]!, 0, t),
          );
        }
        for (const p of at) f.advance(p, 16);
        f.advance(point, 4 * bytes);
      });
      f.loop(0, f.i32.and(points, 3), 1, () => {
        at.forEach((p, lane) => {
          if (toScratch) f.mem.f32.store(point, 4 * lane, f.mem.f32.load(p));
          else f.mem.f32.store(p, 0, f.mem.f32.load(point, 4 * lane));
          f.advance(p, 4);
        });
        f.advance(point, bytes);
      });
    },
  );
}

function transposed(f: FunctionBuilder, [a, b, c, d]: readonly [Vec, Vec, Vec, Vec]): Vec[] {
  const low = f.v128.shuffle(a, b, [0, 4, 1, 5]);
  const high = f.v128.shuffle(a, b, [2, 6, 3, 7]);
  const low2 = f.v128.shuffle(c, d, [0, 4, 1, 5]);
  const high2 = f.v128.shuffle(c, d, [2, 6, 3, 7]);
  return [
    f.v128.shuffle(low, low2, [0, 1, 4, 5]),
    f.v128.shuffle(low, low2, [2, 3, 6, 7]),
    f.v128.shuffle(high, high2, [0, 1, 4, 5]),
    f.v128.shuffle(high, high2, [2, 3, 6, 7]),
  ];
}

/** Multiplies points by a table of complex numbers, and conjugates the product when `mirror` is not 0. */
function definePointwise(module: ModuleBuilder): FunctionRef {
  return module.define(
    "pointwise",
    { params: ["i32", "i32", "i32", "i32"] },
    (f, points, table, count, mirror) => {
      const sign = f.i32x4.splat(f.i32.shl(mirror, 31));
      f.loop(0, count, 1, () => {
        const w = { re: f.mem.vec.load32Splat(table), im: f.mem.vec.load32Splat(table, 4) };
        const z = times(f, load(f, points), w);
        store(f, points, { re: z.re, im: f.v128.xor(z.im, sign) });
        f.advance(points, pointBytes(f));
        f.advance(table, 8);
      });
    },
  );
}

/** Defines the entry `fft`; a unit is a group of as many rows as there are lanes. */
export function buildFft(module: ModuleBuilder): void {
  const passes = RADICES.map((r) => [r, definePass(module, r)] as const);
  const loadRows = defineStage(module, "loadRows");
  const storeRows = defineStage(module, "storeRows");
  const pointwise = definePointwise(module);

  /** Runs all passes; `a` and `b` hold the buffers, the result is in `a`. */
  const transform = (
    f: FunctionBuilder,
    word: Words,
    args: I32,
    a: Variable<"i32">,
    b: Variable<"i32">,
  ): void => {
    const twiddles = word(FFT_ARGS.twiddles);
    f.loop(0, word(FFT_ARGS.passes), 1, (i) => {
      const at = f.i32.add(args, f.i32.shl(i, 4));
      const radix = f.mem.i32.load(at);
      const rest = [
        f.mem.i32.load(at, 4),
        f.mem.i32.load(at, 8),
        f.i32.add(twiddles, f.mem.i32.load(at, 12)),
      ];
      for (const [r, pass] of passes) f.if(f.i32.eq(radix, r), () => void f.call(pass, a, b, ...rest));
      const swap = f.variable("i32", a);
      f.set(a, b);
      f.set(b, swap);
    });
  };

  defineUnits(module, "fft", (f, unit, word, scratch, args) => {
    const list = f.i32.add(args, 4 * FFT_ARG_WORDS);
    const points = word(FFT_ARGS.points);
    const length = word(FFT_ARGS.length);
    const rows = word(FFT_ARGS.rows);
    const first = f.i32.mul(unit, f.lanes);
    const bytes = pointBytes(f);
    const a = f.variable("i32", scratch);
    const b = f.variable("i32", f.i32.add(scratch, f.i32.mul(length, bytes)));
    f.call(loadRows, word(FFT_ARGS.re), first, rows, points, a);
    f.call(loadRows, word(FFT_ARGS.im), first, rows, points, f.i32.add(a, half(f)));
    const chirp = word(FFT_ARGS.chirp);
    f.if(
      chirp,
      () => {
        f.call(pointwise, a, chirp, points, 0);
        const zero = f.f32x4.constant(0);
        f.loop(points, length, 1, (i) => {
          const at = f.i32.add(a, f.i32.mul(i, bytes));
          store(f, at, { re: zero, im: zero });
        });
        transform(f, word, list, a, b);
        f.call(pointwise, a, word(FFT_ARGS.spectrum), length, 1);
        transform(f, word, list, a, b);
        f.call(pointwise, a, word(FFT_ARGS.chirpBack), points, 1);
      },
      () => transform(f, word, list, a, b),
    );
    f.call(storeRows, word(FFT_ARGS.outRe), first, rows, points, a);
    f.call(storeRows, word(FFT_ARGS.outIm), first, rows, points, f.i32.add(a, half(f)));
  });
}
