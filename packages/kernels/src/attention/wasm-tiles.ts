// The parts of which attention kernels are made. A tile is `[rows][Q]`: its lanes are Q queries, so that the softmax over keys
// needs no operation across lanes. Keys and values are read where they are, one number at a time into all lanes.

import type { FunctionBuilder, FunctionRef, ModuleBuilder, Target, Vec } from "@everlong/wasm";
import { smaller, type I32Value } from "../wasm-emit.ts";

/** Queries of a tile: two vectors, or one where rows of blocks are so short that a second one would stay empty. */
export const tileQueries = (target: Target, narrow: boolean): number => (narrow ? 4 : 8) * target.width;
/** Keys taken at a time. */
export const KEY_BLOCK = 64;
/** Score of a key that a query does not see, and the bound below which a score counts as such. */
export const HIDDEN = -3e38;
export const SEEN = -1e38;

export interface ProductShape {
  /** Whether a's steps (else its rows) are next to each other in memory. */
  readonly contiguous: "steps" | "rows";
  readonly rows: number;
  readonly vectors: number;
  /** Whether rows of a (contiguous steps only), of b, or of c lie where a list of addresses says. */
  readonly listed?: "a" | "b" | "c" | undefined;
}

/** Products of keys, of whose addresses there is a list where `listed`, with a tile. Eight sums hide the latency of a multiply-add. */
export const defineScores = (module: ModuleBuilder, narrow: boolean, listed: boolean): FunctionRef =>
  defineProduct(module, {
    contiguous: "steps",
    ...(narrow ? { rows: 8, vectors: 1 } : { rows: 4, vectors: 2 }),
    listed: listed ? "a" : undefined,
  });

/**
 * `product(a, aStride, b, bPitch, c, cPitch, rows, steps, accumulate)`: `c[r] (+)= sum over k of a(r, k) b[k]`, rows of b and c being
 * `vectors` long. `aStride` is the distance in bytes of what is not contiguous in a. Where a is listed, `a` is the address of the list
 * of its rows' addresses; where b or c is, `b` or `c` is that of its rows', and `bPitch` or `cPitch` is added to each.
 */
export function defineProduct(module: ModuleBuilder, shape: ProductShape): FunctionRef {
  const name = `product${shape.contiguous}${shape.rows}x${shape.vectors}${shape.listed ?? ""}`;
  return module.once(name, () =>
    module.define(
      name,
      { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
      (f, a, aStride, b, bPitch, c, cPitch, rows, steps, accumulate) => {
        const vector = 4 * f.lanes;
        const bySteps = shape.contiguous === "steps";
        const [listedA, listedB, listedC] = (["a", "b", "c"] as const).map((x) => shape.listed === x);
        const group = (height: number): void => {
          const sums = Array.from({ length: height }, () =>
            Array.from({ length: shape.vectors }, () => f.vecVariable(0)),
          );
          const lines = Array.from({ length: height }, (_, r) =>
            listedC
              ? f.i32.add(f.mem.i32.load(c, 4 * r), cPitch)
              : f.i32.add(c, r === 0 ? 0 : f.i32.mul(cPitch, r)),
          );
          f.if(accumulate, () =>
            sums.forEach((row, r) =>
              row.forEach((sum, v) => f.setVec(sum, f.mem.vec.load(lines[r]!, v * vector))),
            ),
          );
          // one pointer per row, or one for all
          const pointers = Array.from({ length: bySteps ? height : 1 }, (_, r) =>
            f.variable(
              "i32",
              listedA ? f.mem.i32.load(a, 4 * r) : f.i32.add(a, r === 0 ? 0 : f.i32.mul(aStride, r)),
            ),
          );
          const right = f.variable("i32", b);
          const step = (u: number): void => {
            const from = listedB ? f.i32.add(f.mem.i32.load(right), bPitch) : right;
            const vectors = Array.from({ length: shape.vectors }, (_, v) => f.mem.vec.load(from, v * vector));
            sums.forEach((row, r) => {
              const left = bySteps
                ? f.mem.vec.load32Splat(pointers[r]!, 4 * u)
                : f.mem.vec.load32Splat(pointers[0]!, 4 * r);
              row.forEach((sum, v) => f.setVec(sum, f.f32x4.madd(left, vectors[v]!, sum)));
            });
            f.advance(right, listedB ? 4 : bPitch);
            if (!bySteps) f.advance(pointers[0]!, aStride);
          };
          const bulk = f.i32.and(steps, -4);
          f.loop(0, bulk, 4, () => {
            for (let u = 0; u < 4; u++) step(u);
            if (bySteps) for (const p of pointers) f.advance(p, 16);
          });
          f.loop(bulk, steps, 1, () => {
            step(0);
            if (bySteps) for (const p of pointers) f.advance(p, 4);
          });
          sums.forEach((row, r) => row.forEach((sum, v) => f.mem.vec.store(lines[r]!, v * vector, sum)));
          f.advance(c, listedC ? 4 * height : f.i32.mul(cPitch, height));
          f.advance(a, bySteps && !listedA ? f.i32.mul(aStride, height) : 4 * height);
        };
        const whole = f.i32.sub(rows, f.i32.remU(rows, shape.rows));
        f.loop(0, whole, shape.rows, () => group(shape.rows));
        const half = shape.rows > 4 ? f.i32.and(rows, -4) : whole;
        if (shape.rows > 4) f.if(f.i32.ltU(whole, half), () => group(4));
        f.loop(half, rows, 1, () => group(1));
      },
    ),
  );
}

/** Channels of a row of whole vectors. */
export const paddedChannels = (channels: number, target: Target): number =>
  4 * target.width * Math.ceil(channels / (4 * target.width));

/** Bytes from one row of `copyRows` to the next: whole vectors and a cache line, so that few rows share a set of the cache. */
export const copyPitch = (channels: number, target: Target): number =>
  4 * paddedChannels(channels, target) + 64;

/** Zeros in `bytes`, a multiple of a vector. */
export function clear(f: FunctionBuilder, at: I32Value, bytes: I32Value): void {
  f.loop(0, bytes, 4 * f.lanes, (i) => f.mem.vec.store(f.i32.add(at, i), 0, 0));
}

/** `copyRows(list, rows, channels, to, toPitch)`: rows, of whose addresses there is a list, side by side. */
export function defineCopyRows(module: ModuleBuilder): FunctionRef {
  return module.define(
    "copyRows",
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, list, rows, channels, to, toPitch) => {
      const bytes = f.i32.shl(channels, 2);
      const vectors = f.i32.and(bytes, -4 * f.lanes);
      f.loop(0, rows, 1, () => {
        const row = f.mem.i32.load(list);
        f.loop(0, vectors, 4 * f.lanes, (at) =>
          f.mem.vec.store(f.i32.add(to, at), 0, f.mem.vec.load(f.i32.add(row, at))),
        );
        f.loop(vectors, bytes, 4, (at) =>
          f.mem.f32.store(f.i32.add(to, at), 0, f.mem.f32.load(f.i32.add(row, at))),
        );
        f.advance(list, 4);
        f.advance(to, toPitch);
      });
    },
  );
}

const transpose4 = (f: FunctionBuilder, [a, b, c, d]: readonly Vec[]): Vec[] => {
  const [t0, t1] = [f.v128.shuffle(a!, b!, [0, 4, 1, 5]), f.v128.shuffle(a!, b!, [2, 6, 3, 7])];
  const [t2, t3] = [f.v128.shuffle(c!, d!, [0, 4, 1, 5]), f.v128.shuffle(c!, d!, [2, 6, 3, 7])];
  return [
    f.v128.shuffle(t0, t2, [0, 1, 4, 5]),
    f.v128.shuffle(t0, t2, [2, 3, 6, 7]),
    f.v128.shuffle(t1, t3, [0, 1, 4, 5]),
    f.v128.shuffle(t1, t3, [2, 3, 6, 7]),
  ];
};

/**
 * `pack(from, pitch, rows, channels, to, factor)`: a tile `[channels][Q]` from up to Q rows, times the factor. Lanes beyond the last
 * row repeat it.
 */
export function definePack(module: ModuleBuilder, queries: number): FunctionRef {
  return module.define(
    "pack",
    { params: ["i32", "i32", "i32", "i32", "i32", "f32"] },
    (f, from, pitch, rows, channels, to, factor) => {
      const line = 4 * queries;
      const last = f.i32.sub(rows, 1);
      const bulk = f.i32.shl(f.i32.and(channels, -4), 2);
      const bytes = f.i32.shl(channels, 2);
      for (let g = 0; g < queries; g += 4) {
        const lines = [0, 1, 2, 3].map((i) => f.i32.add(from, f.i32.mul(smaller(f, g + i, last), pitch)));
        const at = f.variable("i32", f.i32.add(to, 4 * g));
        f.loop(0, bulk, 16, (c) => {
          const loaded = lines.map((l) =>
            f.f32x4.mul(f.mem.vec.load(f.i32.add(l, c), 0, 1), f.f32x4.splat(factor, 1)),
          );
          transpose4(f, loaded).forEach((v, i) => f.mem.vec.store(at, i * line, v));
          f.advance(at, 4 * line);
        });
        f.loop(bulk, bytes, 4, (c) => {
          lines.forEach((l, i) =>
            f.mem.f32.store(at, 4 * i, f.f32.mul(f.mem.f32.load(f.i32.add(l, c)), factor)),
          );
          f.advance(at, line);
        });
      }
    },
  );
}

/** `unpack(tile, channels, factors, to, pitch, rows)`: up to Q rows from a tile `[channels][Q]`, lane i times `factors[i]`. */
export function defineUnpack(module: ModuleBuilder, queries: number): FunctionRef {
  return module.define(
    "unpack",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, tile, channels, factors, to, pitch, rows) => {
      const line = 4 * queries;
      const bulk = f.i32.shl(f.i32.and(channels, -4), 2);
      const bytes = f.i32.shl(channels, 2);
      for (let g = 0; g < queries; g += 4) {
        const out = f.i32.add(to, f.i32.mul(pitch, g));
        const single = (i: number, from: I32Value, c: I32Value, end: I32Value): void => {
          const at = f.variable("i32", from);
          const row = f.i32.add(out, f.i32.mul(pitch, i));
          const factor = f.mem.f32.load(factors, 4 * (g + i));
          f.loop(c, end, 4, (at4) => {
            f.mem.f32.store(f.i32.add(row, at4), 0, f.f32.mul(f.mem.f32.load(at, 4 * (g + i)), factor));
            f.advance(at, line);
          });
        };
        f.if(
          f.i32.geS(rows, g + 4),
          () => {
            const at = f.variable("i32", tile);
            f.loop(0, bulk, 16, (c) => {
              const scale = f.mem.vec.load(factors, 4 * g, 1);
              const loaded = [0, 1, 2, 3].map((i) =>
                f.f32x4.mul(f.mem.vec.load(at, i * line + 4 * g, 1), scale),
              );
              const to4 = f.i32.add(out, c);
              transpose4(f, loaded).forEach((v, i) => {
                f.mem.vec.store(i === 0 ? to4 : f.i32.add(to4, f.i32.mul(pitch, i)), 0, v);
              });
              f.advance(at, 4 * line);
            });
            f.if(f.i32.ltU(bulk, bytes), () => {
              for (let i = 0; i < 4; i++) single(i, at, bulk, bytes);
            });
          },
          () => {
            for (let i = 0; i < 3; i++) {
              f.if(f.i32.gtS(rows, g + i), () => single(i, tile, f.i32.constant(0), bytes));
            }
          },
        );
      }
    },
  );
}

/**
 * `bounds(first, to, own, left, right, keys, valid, iota)`: three int32 tiles rows `[Q]` at `to`: the first key seen by each lane, the key
 * after the last one, and (as float32) the lane's own position. Lanes from `valid` on see none.
 */
export function defineBounds(module: ModuleBuilder, queries: number): FunctionRef {
  return module.define(
    "bounds",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, to, own, left, right, keys, valid, iota) => {
      const line = 4 * queries;
      for (let at = 0; at < line; at += 4 * f.lanes) {
        const lane = f.mem.vec.load(iota, at);
        const position = f.i32x4.add(lane, f.i32x4.splat(own));
        const from = f.i32x4.maxS(f.i32x4.sub(position, f.i32x4.splat(left)), 0);
        const past = f.i32x4.minS(
          f.i32x4.add(position, f.i32x4.splat(f.i32.add(right, 1))),
          f.i32x4.splat(keys),
        );
        const there = f.i32x4.ltS(lane, f.i32x4.splat(valid));
        f.mem.vec.store(to, at, from);
        f.mem.vec.store(to, line + at, f.v128.and(past, there));
        f.mem.vec.store(to, 2 * line + at, f.f32x4.convertI32x4S(position));
      }
    },
  );
}
