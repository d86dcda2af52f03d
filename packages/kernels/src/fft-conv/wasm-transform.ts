// Complex transforms of groups of rows, lanes being rows: element j of a buffer is (re of all lanes)(im of all lanes). Decimation in
// frequency forward and in time backward, in place and without reordering: spectra stay in digit-reversed order, which products do
// not mind.

import type { FunctionBuilder, FunctionRef, I32, ModuleBuilder, Value, Variable } from "@everlong/wasm";
import { Algebra, CODELETS, type Complex } from "./wasm-codelets.ts";
import { defineFirst, defineLast } from "./wasm-ends.ts";
import { elementBytes, type Leaf } from "./wasm-lengths.ts";

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

  /** A radix-4 butterfly between four elements; `w(1..3)` are their factors, absent where they are 1. */
  interface Site {
    readonly load: (k: number) => Complex;
    readonly store: (k: number, z: Complex) => void;
    readonly w: (k: number) => Complex | undefined;
  }
  const forward = (m: Algebra, { load, store, w }: Site): void => {
    const turned = (k: number, z: Complex): Complex => {
      const factor = w(k);
      return factor ? m.mul(z, factor) : z;
    };
    const [a, b, c, d] = [load(0), load(1), load(2), load(3)];
    const [s0, s1, s2, s3] = [m.add(a, c), m.sub(a, c), m.add(b, d), m.sub(b, d)];
    store(0, m.add(s0, s2));
    store(1, turned(1, m.subTurned(s1, s3)));
    store(2, turned(2, m.sub(s0, s2)));
    store(3, turned(3, m.addTurned(s1, s3)));
  };
  const backward = (m: Algebra, { load, store, w }: Site): void => {
    const turned = (k: number): Complex => {
      const factor = w(k);
      return factor ? m.mulConj(load(k), factor) : load(k);
    };
    const c = turned(2);
    const a = load(0);
    const [s0, s1] = [m.add(a, c), m.sub(a, c)];
    const b = turned(1);
    const d = turned(3);
    const [s2, s3] = [m.add(b, d), m.sub(b, d)];
    store(0, m.add(s0, s2));
    store(2, m.sub(s0, s2));
    store(1, m.addTurned(s1, s3));
    store(3, m.subTurned(s1, s3));
  };
  type Butterfly = typeof forward;

  // (from, end, step, twiddles) over blocks of four steps; a step is a multiple of four elements
  const pass = (name: string, butterfly: Butterfly): FunctionRef =>
    module.define(name, { params: ["i32", "i32", "i32", "i32"] }, (f, from, end, step, twiddles) => {
      const m = new Algebra(f);
      f.doWhile(() => {
        const p = quarters(f, from, step);
        const tw = f.variable("i32", twiddles);
        const stop = f.i32.add(p[0], step);
        const moves = [...p.map((q) => [q, 4 * es] as const), [tw, 4 * 24] as const];
        f.sweep(p[0], stop, moves, () => {
          for (let u = 0; u < 4; u++)
            butterfly(m, {
              load: (k) => m.load(p[k]!, u * es),
              store: (k, z) => m.store(p[k]!, u * es, z),
              w: (k) => m.twiddle(tw, 24 * u + 8 * (k - 1)),
            });
        });
        f.set(from, p[3]);
        return f.i32.ltU(from, end);
      });
    });
  // the same where a step is one leaf: all offsets and the factors 1 are known
  const lowPass = (name: string, butterfly: Butterfly): FunctionRef =>
    module.define(name, { params: ["i32", "i32", "i32", "i32"] }, (f, from, end, _step, twiddles) => {
      const m = new Algebra(f);
      f.sweep(from, end, [[from, 4 * leaf * es]], () => {
        for (let j = 0; j < leaf; j++)
          butterfly(m, {
            load: (k) => m.load(from, (k * leaf + j) * es),
            store: (k, z) => m.store(from, (k * leaf + j) * es, z),
            w: (k) => (j === 0 ? undefined : m.twiddle(twiddles, 24 * j + 8 * (k - 1))),
          });
      });
    });
  const forwardAt = { high: pass("forward", forward), low: lowPass("forwardLow", forward) };
  const backwardAt = { high: pass("backward", backward), low: lowPass("backwardLow", backward) };

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
        fns: { readonly high: FunctionRef; readonly low: FunctionRef },
        from: I32,
        to: I32,
        step: Value<"i32">,
        tw: Value<"i32">,
      ): void =>
        f.if(
          f.i32.eq(step, leafBytes),
          () => f.call(fns.low, from, to, step, tw),
          () => f.call(fns.high, from, to, step, tw),
        );
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
