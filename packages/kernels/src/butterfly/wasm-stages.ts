// Stages of butterflies. Lanes are channels: an element of a buffer is a vector, real parts in one plane and imaginary parts in
// another, so that every product is a number of a matrix in all lanes times a vector.

import type { FunctionBuilder, FunctionRef, ModuleBuilder, Variable, Vec } from "@everlong/wasm";
import { smaller, type I32Value } from "../wasm-emit.ts";

/** Bytes of an element of one plane. */
export const vectorBytes = (width: number): number => 16 * width;

interface ProductKind {
  /** Conjugate matrix. */
  readonly conjugate: boolean;
  /** Inputs have no imaginary part. */
  readonly realIn: boolean;
  /** Only real parts are wanted. */
  readonly realOut: boolean;
}

/**
 * `products(from, fromPitch, fromPair, fromImag, w, wRow, wColumn, wImag, rows, count, to, toPitch, toPair, toImag)`: for two columns
 * side by side `to[r] = sum over c < count of w(r, c) from[c]`. Strides in bytes.
 */
function defineProducts(module: ModuleBuilder, kind: ProductKind): FunctionRef {
  const name = `products${kind.conjugate ? "Conjugate" : ""}${kind.realIn ? "RealIn" : ""}${kind.realOut ? "RealOut" : ""}`;
  const params = Array.from({ length: 14 }, () => "i32" as const);
  return module.define(
    name,
    { params },
    (
      f,
      from,
      fromPitch,
      fromPair,
      fromImag,
      w,
      wRow,
      wColumn,
      wImag,
      rows,
      count,
      to,
      toPitch,
      toPair,
      toImag,
    ) => {
      const group = (height: number): void => {
        const sums = Array.from({ length: height }, () =>
          [0, 1].map(() => ({ re: f.vecVariable(0), im: kind.realOut ? undefined : f.vecVariable(0) })),
        );
        const inputs = [0, 1].map((c) => f.variable("i32", c === 0 ? from : f.i32.add(from, fromPair)));
        const weights = Array.from({ length: height }, (_, r) =>
          f.variable("i32", r === 0 ? w : f.i32.add(w, f.i32.mul(wRow, r))),
        );
        f.loop(0, count, 1, () => {
          const xs = inputs.map((at) => ({
            re: f.mem.vec.load(at),
            im: kind.realIn ? undefined : f.mem.vec.load(f.i32.add(at, fromImag)),
          }));
          weights.forEach((at, r) => {
            const wr = f.mem.vec.load32Splat(at);
            const wi = f.mem.vec.load32Splat(f.i32.add(at, wImag));
            xs.forEach((x, c) => {
              const sum = sums[r]![c]!;
              f.setVec(sum.re, f.f32x4.madd(wr, x.re, sum.re));
              if (x.im) {
                const turn = kind.conjugate ? f.f32x4.madd : f.f32x4.nmadd;
                f.setVec(sum.re, turn.call(f.f32x4, wi, x.im, sum.re));
              }
              if (sum.im) {
                if (x.im) f.setVec(sum.im, f.f32x4.madd(wr, x.im, sum.im));
                const turn = kind.conjugate ? f.f32x4.nmadd : f.f32x4.madd;
                f.setVec(sum.im, turn.call(f.f32x4, wi, x.re, sum.im));
              }
            });
          });
          for (const at of inputs) f.advance(at, fromPitch);
          for (const at of weights) f.advance(at, wColumn);
        });
        for (const row of sums) {
          row.forEach((sum, c) => {
            const at = c === 0 ? to : f.i32.add(to, toPair);
            f.mem.vec.store(at, 0, sum.re);
            if (sum.im) f.mem.vec.store(f.i32.add(at, toImag), 0, sum.im);
          });
          f.advance(to, toPitch);
        }
        f.advance(w, f.i32.mul(wRow, height));
      };
      const whole = f.i32.and(rows, -2);
      f.loop(0, whole, 2, () => group(2));
      f.if(f.i32.ltU(whole, rows), () => group(1));
    },
  );
}

/** `v` times the twiddle at `table`, or its conjugate. */
function twisted(
  f: FunctionBuilder,
  v: { readonly re: Vec; readonly im: Vec },
  table: I32Value,
  conjugate: boolean,
): { readonly re: Vec; readonly im: Vec } {
  const [c, s] = [f.mem.vec.load32Splat(table, 0), f.mem.vec.load32Splat(table, 4)];
  const [plus, minus] = [f.f32x4.madd, f.f32x4.nmadd];
  const [first, second] = conjugate ? [plus, minus] : [minus, plus];
  return {
    re: first.call(f.f32x4, v.im, s, f.f32x4.mul(v.re, c)),
    im: second.call(f.f32x4, v.re, s, f.f32x4.mul(v.im, c)),
  };
}

/** Visits pairs of columns of a stage: their distance, address offsets of row 0, and positions in a row of twiddles. */
function eachPair(
  f: FunctionBuilder,
  { blocks, m, n }: { readonly blocks: I32Value; readonly m: I32Value; readonly n: I32Value },
  body: (offset: I32Value, pair: I32Value, twiddles: readonly [I32Value, I32Value]) => void,
): void {
  const vector = vectorBytes(f.width);
  const columns = f.i32.mul(blocks, n);
  const last = f.i32.sub(columns, 1);
  const place = (column: I32Value): { offset: I32Value; within: I32Value } => {
    const block = f.i32.divU(column, n);
    const within = f.i32.sub(column, f.i32.mul(block, n));
    return { offset: f.i32.mul(f.i32.add(f.i32.mul(f.i32.mul(block, m), n), within), vector), within };
  };
  f.loop(0, columns, 2, (column) => {
    const first = place(f.i32.add(column, 0));
    // an odd last column is done twice
    const second = place(smaller(f, f.i32.add(column, 1), last));
    body(first.offset, f.i32.sub(second.offset, first.offset), [first.within, second.within]);
  });
}

/** What kernels call. */
export interface Stages {
  /** `forward(work, to, imag, w, table, blocks, m, n, tile)` and the same for a real first stage with `count` rows of input. */
  readonly forward: FunctionRef;
  readonly forwardReal: FunctionRef;
  /** The conjugate transpose, in place; `Real`: the last one, real parts of `count` rows. */
  readonly backward: FunctionRef;
  readonly backwardReal: FunctionRef;
  /** `untwist(work, imag, table, blocks, m, n)`: in place. */
  readonly untwist: FunctionRef;
  /** `transposed(from, to, imag, w, blocks, m, n)`: the conjugate transpose of the matrix alone. */
  readonly transposed: FunctionRef;
  /** `correlate(t, x, imag, sums, blocks, m, n)`: `sums[k, a] += t[k] conj(x[a])` over columns, lane by lane. */
  readonly correlate: FunctionRef;
}

/** Bytes of the tile that stages need for rows of up to `m` and two columns. */
export const tileBytes = (m: number, width: number): number => 4 * m * vectorBytes(width);

export function defineStages(module: ModuleBuilder): Stages {
  const vector = vectorBytes(module.target.width);
  const plain = { conjugate: false, realIn: false, realOut: false };
  const products = defineProducts(module, plain);
  const productsReal = defineProducts(module, { ...plain, realIn: true });
  const adjoints = defineProducts(module, { ...plain, conjugate: true });
  const adjointsReal = defineProducts(module, { ...plain, conjugate: true, realOut: true });
  // tiles hold the real and imaginary parts of column 0, then those of column 1
  const [tilePitch, tilePair, tileImag] = [4 * vector, 2 * vector, vector];

  const forward = (name: string, core: FunctionRef): FunctionRef =>
    module.define(
      name,
      { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
      (f, work, to, imag, w, table, blocks, m, n, tile, count) => {
        const pitch = f.i32.mul(n, vector);
        const wRow = f.i32.shl(m, 2);
        const wImag = f.i32.mul(wRow, m);
        eachPair(f, { blocks, m, n }, (offset, pair, within) => {
          const x = f.i32.add(work, offset);
          const matrix = [w, wRow, 4, wImag, m, count] as const;
          f.call(core, x, pitch, pair, imag, ...matrix, tile, tilePitch, tilePair, tileImag);
          const from = f.variable("i32", tile);
          const out = f.variable("i32", f.i32.add(to, offset));
          const line = f.variable("i32", table);
          f.loop(0, m, 1, () => {
            for (const c of [0, 1]) {
              const v = {
                re: f.mem.vec.load(from, c * tilePair),
                im: f.mem.vec.load(from, c * tilePair + tileImag),
              };
              const y = twisted(f, v, f.i32.add(line, f.i32.shl(within[c]!, 3)), false);
              const at = c === 0 ? out : f.i32.add(out, pair);
              f.mem.vec.store(at, 0, y.re);
              f.mem.vec.store(f.i32.add(at, imag), 0, y.im);
            }
            f.advance(from, tilePitch);
            f.advance(out, pitch);
            f.advance(line, f.i32.shl(n, 3));
          });
        });
      },
    );

  const backward = (name: string, core: FunctionRef): FunctionRef =>
    module.define(
      name,
      { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
      (f, work, imag, w, table, blocks, m, n, tile, count) => {
        const pitch = f.i32.mul(n, vector);
        const wRow = f.i32.shl(m, 2);
        const wImag = f.i32.mul(wRow, m);
        eachPair(f, { blocks, m, n }, (offset, pair, within) => {
          const x = f.i32.add(work, offset);
          const from = f.variable("i32", x);
          const out = f.variable("i32", tile);
          const line = f.variable("i32", table);
          f.loop(0, m, 1, () => {
            for (const c of [0, 1]) {
              const at = c === 0 ? from : f.i32.add(from, pair);
              const v = { re: f.mem.vec.load(at), im: f.mem.vec.load(f.i32.add(at, imag)) };
              const y = twisted(f, v, f.i32.add(line, f.i32.shl(within[c]!, 3)), true);
              f.mem.vec.store(out, c * tilePair, y.re);
              f.mem.vec.store(out, c * tilePair + tileImag, y.im);
            }
            f.advance(from, pitch);
            f.advance(out, tilePitch);
            f.advance(line, f.i32.shl(n, 3));
          });
          const matrix = [w, 4, wRow, wImag, count, m] as const;
          f.call(core, tile, tilePitch, tilePair, tileImag, ...matrix, x, pitch, pair, imag);
        });
      },
    );

  return {
    forward: forward("forward", products),
    forwardReal: forward("forwardReal", productsReal),
    backward: backward("backward", adjoints),
    backwardReal: backward("backwardReal", adjointsReal),
    untwist: module.define(
      "untwist",
      { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
      (f, work, imag, table, blocks, m, n) => {
        f.loop(0, blocks, 1, () => {
          const at = f.variable("i32", table);
          f.loop(0, f.i32.mul(m, n), 1, () => {
            const v = { re: f.mem.vec.load(work), im: f.mem.vec.load(f.i32.add(work, imag)) };
            const y = twisted(f, v, at, true);
            f.mem.vec.store(work, 0, y.re);
            f.mem.vec.store(f.i32.add(work, imag), 0, y.im);
            f.advance(work, vector);
            f.advance(at, 8);
          });
        });
      },
    ),
    transposed: module.define(
      "transposed",
      { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
      (f, from, to, imag, w, blocks, m, n) => {
        const pitch = f.i32.mul(n, vector);
        const wRow = f.i32.shl(m, 2);
        const matrix = [w, 4, wRow, f.i32.mul(wRow, m), m, m] as const;
        eachPair(f, { blocks, m, n }, (offset, pair) => {
          const [x, y] = [f.i32.add(from, offset), f.i32.add(to, offset)];
          f.call(adjoints, x, pitch, pair, imag, ...matrix, y, pitch, pair, imag);
        });
      },
    ),
    correlate: defineCorrelate(module),
  };
}

function defineCorrelate(module: ModuleBuilder): FunctionRef {
  const vector = vectorBytes(module.target.width);
  return module.define(
    "correlate",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, t, x, imag, sums, blocks, m, n) => {
      const pitch = f.i32.mul(n, vector);
      const blockBytes = f.i32.mul(m, pitch);
      /** Sums of `height` rows k and as many columns a of the matrix at once. */
      const tile = (k: I32Value, a: I32Value, height: number): void => {
        const range = Array.from({ length: height }, (_, i) => i);
        const at = (i: number, j: number): I32Value => {
          const entry = f.i32.add(f.i32.mul(f.i32.add(k, i), m), f.i32.add(a, j));
          return f.i32.add(sums, f.i32.mul(entry, 2 * vector));
        };
        const totals = range.map(() => range.map(() => ({ re: f.vecVariable(0), im: f.vecVariable(0) })));
        const start = (base: I32Value, first: I32Value, i: number): Variable<"i32"> =>
          f.variable("i32", f.i32.add(base, f.i32.mul(f.i32.add(first, i), pitch)));
        const ts = range.map((i) => start(t, k, i));
        const xs = range.map((i) => start(x, a, i));
        f.loop(0, blocks, 1, () => {
          f.loop(0, pitch, vector, (offset) => {
            const load = (base: Variable<"i32">): { re: Vec; im: Vec } => {
              const from = f.i32.add(base, offset);
              return { re: f.mem.vec.load(from), im: f.mem.vec.load(f.i32.add(from, imag)) };
            };
            const [left, right] = [ts.map(load), xs.map(load)];
            totals.forEach((line, i) =>
              line.forEach((total, j) => {
                const [c, e] = [left[i]!, right[j]!];
                f.setVec(total.re, f.f32x4.madd(c.re, e.re, f.f32x4.madd(c.im, e.im, total.re)));
                f.setVec(total.im, f.f32x4.nmadd(c.re, e.im, f.f32x4.madd(c.im, e.re, total.im)));
              }),
            );
          });
          for (const p of [...ts, ...xs]) f.advance(p, blockBytes);
        });
        totals.forEach((line, i) =>
          line.forEach((total, j) => {
            f.mem.vec.store(at(i, j), 0, f.f32x4.add(f.mem.vec.load(at(i, j)), total.re));
            f.mem.vec.store(at(i, j), vector, f.f32x4.add(f.mem.vec.load(at(i, j), vector), total.im));
          }),
        );
      };
      const each = (height: number): void =>
        f.loop(0, m, height, (k) => f.loop(0, m, height, (a) => tile(k, a, height)));
      f.if(
        f.i32.and(m, 1),
        () => each(1),
        () => each(2),
      );
    },
  );
}
