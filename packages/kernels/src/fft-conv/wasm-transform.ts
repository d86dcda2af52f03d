// Complex transforms of groups of rows, lanes being rows: element j of a buffer is (re of all lanes)(im of all lanes). Decimation in
// frequency forward and in time backward, in place and without reordering: spectra stay in digit-reversed order, which products do
// not mind. README.md derives the first and last passes, which carry the right-angle twist.

import type { FunctionBuilder, FunctionRef, I32, ModuleBuilder, Value, Variable, Vec } from "@everlong/wasm";

/** A complex number per lane. */
export interface Complex {
  readonly re: Vec;
  readonly im: Vec;
}

/** Lengths of the innermost transforms. A length M is one of them times a power of 4 (at least 4). */
export const LEAVES = [3, 4, 5, 6, 8, 10] as const;
export type Leaf = (typeof LEAVES)[number];

const SMALLEST = 16;
const isLeaf = (n: number): n is Leaf => (LEAVES as readonly number[]).includes(n);

/** The innermost length of a transform of length `m`, if `m` is 16 or more and 1, 3 or 5 times a power of 2. */
export function leafOf(m: number): Leaf | undefined {
  if (m < SMALLEST) return undefined;
  let n = m;
  while (n > 10 || !isLeaf(n)) {
    if (n % 4 !== 0) return undefined;
    n /= 4;
  }
  // first and last passes handle two elements at a time
  return (m / 4) % 2 === 0 ? n : undefined;
}

/** The smallest supported length that is at least `n`. */
export function niceLength(n: number): number {
  let best = Infinity;
  for (const factor of [1, 3, 5]) {
    let m = factor;
    while (m < n || leafOf(m) === undefined) m *= 2;
    best = Math.min(best, m);
  }
  return best;
}

/** Bytes of one element: real and imaginary parts of all lanes. */
export const elementBytes = (width: number): number => 32 * width;

/** Where the parts of a twiddle table of length `m` lie, in bytes. */
export interface TableLayout {
  readonly leaf: Leaf;
  /** Levels m/4, m/16, ... of the inner passes, in this order: 24 bytes for each j. */
  readonly inner: number;
  /** Right-angle twist and first pass: 32 bytes for each j < m/4. */
  readonly first: number;
  /** The same, scaled by 1/m, for the last pass. */
  readonly last: number;
  readonly bytes: number;
}

export function tableLayout(m: number): TableLayout {
  const leaf = leafOf(m)!;
  let inner = 0;
  for (let n = m / 4; n > leaf; n /= 4) inner += (n / 4) * 24;
  return { leaf, inner: 0, first: inner, last: inner + m * 8, bytes: inner + m * 16 };
}

/** Writes the table of length `m` at `at`. */
export function fillTable(memory: DataView, at: number, m: number): void {
  const layout = tableLayout(m);
  let to = at;
  const put = (angle: number, scale: number): void => {
    memory.setFloat32(to, Math.cos(angle) * scale, true);
    memory.setFloat32(to + 4, Math.sin(angle) * scale, true);
    to += 8;
  };
  for (let n = m / 4; n > layout.leaf; n /= 4)
    for (let j = 0; j < n / 4; j++) for (let k = 1; k <= 3; k++) put((-2 * Math.PI * j * k) / n, 1);
  for (const scale of [1, 1 / m])
    for (let j = 0; j < m / 4; j++)
      for (let k = 0; k < 4; k++) put((-Math.PI * j) / (2 * m) - (2 * Math.PI * j * k) / m, scale);
}

const C1 = Math.cos(Math.PI / 8);
const S1 = Math.sin(Math.PI / 8);
const H = Math.SQRT1_2;

/** Arithmetic on complex vectors. */
class Algebra {
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

type Codelet = (m: Algebra, x: readonly Complex[], inverse: boolean) => Complex[];

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

const CODELETS: { readonly [L in Leaf]: Codelet } = {
  3: dft3,
  4: dft4,
  5: dft5,
  6: twice(3, dft3),
  8: dft8,
  10: twice(5, dft5),
};

/** The transforms of one leaf length within a module. */
export interface Transforms {
  /** `(data, work, step, twiddles)`: real sequence to the spectrum's first level; `step` = quarter of the elements' bytes. */
  readonly firstReal: FunctionRef;
  /** The same from a sequence of twice the length. */
  readonly firstBoth: FunctionRef;
  /** `(work, data, step, twiddles)`: back to the first half of the sequence, or to both. */
  readonly lastReal: FunctionRef;
  readonly lastBoth: FunctionRef;
  /** `(x, y, z, bytes, twiddles, mode)`: everything between the first and the last pass, see {@link Mode}. */
  readonly walk: FunctionRef;
}

/** What `walk` does at the innermost level. */
export const MODE = {
  /** x becomes its spectrum. */
  spectrum: 0,
  /** x becomes the inverse transform of spectrum(x) y. */
  multiply: 1,
  /** x becomes the inverse transform of spectrum(x) conj(y). */
  multiplyConj: 2,
  /** z = spectrum(y) conj(spectrum(x)). */
  correlate: 3,
  /** z += spectrum(y) conj(spectrum(x)). */
  correlateAdd: 4,
  /** x becomes its inverse transform. */
  inverse: 5,
} as const;

type I32Var = Variable<"i32">;

/** Blocks of up to this many bytes are worked on level by level instead of depth first. */
const BLOCK_BYTES = 16384;

/** Defines the passes for a leaf length. */
export function defineTransforms(module: ModuleBuilder, leaf: Leaf): Transforms {
  const es = elementBytes(module.target.width);
  const codelet = CODELETS[leaf];

  const quarters = (f: FunctionBuilder, p: I32, step: I32): [I32Var, I32Var, I32Var, I32Var] => {
    const p0 = f.variable("i32", p);
    const p1 = f.variable("i32", f.i32.add(p0, step));
    const p2 = f.variable("i32", f.i32.add(p1, step));
    return [p0, p1, p2, f.variable("i32", f.i32.add(p2, step))];
  };

  // (from, end, step, twiddles) over blocks of four steps
  const pass = (
    name: string,
    unroll: number,
    butterfly: (m: Algebra, p: readonly I32Var[], at: number, tw: I32Var, u: number) => void,
  ): FunctionRef =>
    module.define(name, { params: ["i32", "i32", "i32", "i32"] }, (f, from, end, step, twiddles) => {
      const m = new Algebra(f);
      f.doWhile(() => {
        const p = quarters(f, from, step);
        const tw = f.variable("i32", twiddles);
        const stop = f.i32.add(p[0], step);
        const moves = [...p.map((q) => [q, unroll * es] as const), [tw, unroll * 24] as const];
        f.sweep(p[0], stop, moves, () => {
          for (let u = 0; u < unroll; u++) butterfly(m, p, u * es, tw, u);
        });
        f.set(from, p[3]);
        return f.i32.ltU(from, end);
      });
    });

  const forward = (unroll: number): FunctionRef =>
    pass(`forward${unroll}`, unroll, (m, p, at, tw, u) => {
      const [a, b, c, d] = p.map((q) => m.load(q, at)) as [Complex, Complex, Complex, Complex];
      const [s0, s1, s2, s3] = [m.add(a, c), m.sub(a, c), m.add(b, d), m.sub(b, d)];
      const w = (k: number): Complex => m.twiddle(tw, 24 * u + 8 * k);
      m.store(p[0]!, at, m.add(s0, s2));
      m.store(p[1]!, at, m.mul(m.subTurned(s1, s3), w(0)));
      m.store(p[2]!, at, m.mul(m.sub(s0, s2), w(1)));
      m.store(p[3]!, at, m.mul(m.addTurned(s1, s3), w(2)));
    });
  const backward = (unroll: number): FunctionRef =>
    pass(`backward${unroll}`, unroll, (m, p, at, tw, u) => {
      const w = (k: number): Complex => m.twiddle(tw, 24 * u + 8 * k);
      const c = m.mulConj(m.load(p[2]!, at), w(1));
      const a = m.load(p[0]!, at);
      const [s0, s1] = [m.add(a, c), m.sub(a, c)];
      const b = m.mulConj(m.load(p[1]!, at), w(0));
      const d = m.mulConj(m.load(p[3]!, at), w(2));
      const [s2, s3] = [m.add(b, d), m.sub(b, d)];
      m.store(p[0]!, at, m.add(s0, s2));
      m.store(p[2]!, at, m.sub(s0, s2));
      m.store(p[1]!, at, m.addTurned(s1, s3));
      m.store(p[3]!, at, m.subTurned(s1, s3));
    });
  const lowUnroll = leaf === 4 || leaf === 8 ? 4 : leaf === 6 || leaf === 10 ? 2 : leaf;
  const forwardAt = { 4: forward(4), low: lowUnroll === 4 ? undefined : forward(lowUnroll) };
  const backwardAt = { 4: backward(4), low: lowUnroll === 4 ? undefined : backward(lowUnroll) };

  // innermost transforms: (x, y, z, end of x)
  const inner = (
    name: string,
    body: (m: Algebra, x: I32Var, y: I32Var, z: I32Var) => void,
    moving: number,
  ): FunctionRef =>
    module.define(name, { params: ["i32", "i32", "i32", "i32"] }, (f, x, y, z, end) => {
      const m = new Algebra(f);
      f.sweep(
        x,
        end,
        [x, y, z].slice(0, moving).map((p) => [p, leaf * es] as const),
        () => body(m, x, y, z),
      );
    });
  const loadAll = (m: Algebra, p: I32Var): Complex[] =>
    Array.from({ length: leaf }, (_, k) => m.load(p, k * es));
  const storeAll = (m: Algebra, p: I32Var, values: readonly Complex[]): void =>
    values.forEach((v, k) => m.store(p, k * es, v));
  const leaves: FunctionRef[] = [];
  leaves[MODE.spectrum] = inner(
    "leafSpectrum",
    (m, x) => storeAll(m, x, codelet(m, loadAll(m, x), false)),
    1,
  );
  for (const [mode, conj] of [
    [MODE.multiply, false],
    [MODE.multiplyConj, true],
  ] as const)
    leaves[mode] = inner(
      conj ? "leafMultiplyConj" : "leafMultiply",
      (m, x, y) => {
        const spectrum = codelet(m, loadAll(m, x), false);
        const product = spectrum.map((v, k) => {
          const w = m.load(y, k * es);
          return conj ? m.mulConj(v, w) : m.mul(v, w);
        });
        storeAll(m, x, codelet(m, product, true));
      },
      2,
    );
  for (const [mode, add] of [
    [MODE.correlate, false],
    [MODE.correlateAdd, true],
  ] as const)
    leaves[mode] = inner(
      add ? "leafCorrelateAdd" : "leafCorrelate",
      (m, x, y, z) => {
        const a = codelet(m, loadAll(m, x), false);
        const b = codelet(m, loadAll(m, y), false);
        const product = b.map((v, k) => m.mulConj(v, a[k]!));
        storeAll(m, z, add ? product.map((v, k) => m.add(m.load(z, k * es), v)) : product);
      },
      3,
    );
  leaves[MODE.inverse] = inner("leafInverse", (m, x) => storeAll(m, x, codelet(m, loadAll(m, x), true)), 1);

  const walk = module.define(
    "walk",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, x, y, z, bytes, twiddles, mode) => {
      const leafBytes = leaf * es;
      const end = f.i32.add(x, bytes);
      const isCorrelation = f.i32.eq(f.i32.shrU(f.i32.add(mode, 1), 1), 2);
      const goesForward = f.i32.ne(mode, MODE.inverse);
      const goesBack = f.i32.or(
        f.i32.eq(mode, MODE.inverse),
        f.i32.or(f.i32.eq(mode, MODE.multiply), f.i32.eq(mode, MODE.multiplyConj)),
      );
      const atLevel = (
        fns: { readonly 4: FunctionRef; readonly low: FunctionRef | undefined },
        from: I32,
        to: I32,
        step: Value<"i32">,
        tw: Value<"i32">,
      ): void => {
        const { low } = fns;
        const run = (fn: FunctionRef): void => void f.call(fn, from, to, step, tw);
        if (!low) return run(fns[4]);
        f.if(
          f.i32.eq(step, leafBytes),
          () => run(low),
          () => run(fns[4]),
        );
      };
      const leafCall = (): void => {
        // one branch per mode; every leaf function takes the same arguments
        for (const kind of Object.values(MODE))
          f.if(f.i32.eq(mode, kind), () => {
            f.call(leaves[kind]!, x, y, z, end);
          });
      };
      f.if(f.i32.gtU(bytes, BLOCK_BYTES), () => {
        const step = f.i32.shrU(bytes, 2);
        f.if(goesForward, () => atLevel(forwardAt, x, end, step, twiddles));
        f.if(isCorrelation, () => atLevel(forwardAt, y, f.i32.add(y, bytes), step, twiddles));
        // 24 bytes of twiddles for a quarter of the elements
        const next = f.i32.add(twiddles, f.i32.mul(f.i32.divU(step, es), 24));
        const at = [x, y, z].map((p) => f.variable("i32", p));
        f.loop(0, 4, 1, () => {
          f.call(module.find("walk")!, at[0]!, at[1]!, at[2]!, step, next, mode);
          for (const p of at) f.advance(p, step);
        });
        f.if(goesBack, () => atLevel(backwardAt, x, end, step, twiddles));
        f.return();
      });
      const step = f.variable("i32", f.i32.shrU(bytes, 2));
      const tw = f.variable("i32", twiddles);
      f.if(goesForward, () => {
        f.while(
          () => f.i32.geU(step, leafBytes),
          () => {
            atLevel(forwardAt, x, end, step, tw);
            f.if(isCorrelation, () => atLevel(forwardAt, y, f.i32.add(y, bytes), step, tw));
            f.advance(tw, f.i32.mul(f.i32.divU(step, es), 24));
            f.set(step, f.i32.shrU(step, 2));
          },
        );
      });
      leafCall();
      f.if(goesBack, () => {
        // levels again from the innermost: their tables lie before `last` in reverse order
        f.set(step, leafBytes);
        const top = f.i32.shrU(bytes, 2);
        f.while(
          () => f.i32.leU(step, top),
          () => {
            // the table of this level starts after those of all larger steps: 24 / es (top + top / 4 + ... + 4 step)
            const before = f.i32.divU(f.i32.mul(f.i32.sub(top, step), 4), 3);
            const at = f.i32.add(twiddles, f.i32.mul(f.i32.divU(before, es), 24));
            atLevel(backwardAt, x, end, step, at);
            f.set(step, f.i32.shl(step, 2));
          },
        );
      });
    },
  );

  return {
    walk,
    firstReal: defineFirst(module, false),
    firstBoth: defineFirst(module, true),
    lastReal: defineLast(module, false),
    lastBoth: defineLast(module, true),
  };
}

// (data, work, step, twiddles): step = bytes of a quarter of the real sequence of length M
function defineFirst(module: ModuleBuilder, both: boolean): FunctionRef {
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
function defineLast(module: ModuleBuilder, both: boolean): FunctionRef {
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
