// The gradient kernel: a unit is a key head with a part of the queries. It walks tiles of queries and blocks of keys once,
// computes the weights again from the log-sum-exp, and keeps the gradients of all keys and values in scratch.

import type { FunctionRef, ModuleBuilder, Target } from "@everlong/wasm";
import { argFloat, argReader, smaller, type I32Value } from "../wasm-emit.ts";
import { powerOfTwo } from "../wasm-power.ts";
import { bentScore, vectorsOf, visibility, type ScoreTile } from "./wasm-forward.ts";
import {
  COMMON_ARGS,
  eachKeyBlock,
  ifRows,
  keyNumber,
  keyStep,
  listBytes,
  spanOf,
  type AttentionKind,
  type CommonArg,
} from "./wasm-key-walk.ts";
import { copyBytes, defineTileSums, sumsBytes } from "./wasm-tile-sums.ts";
import {
  KEY_BLOCK,
  clear,
  defineBounds,
  definePack,
  defineProduct,
  defineScores,
  paddedChannels,
  tileQueries,
} from "./wasm-tiles.ts";

const OWN_ARGS = [
  "delta",
  "dy",
  "dyBatch",
  "dyTime",
  "dyHead",
  "dq",
  "dk",
  "dv",
  // bytes of the key and value gradients of one part
  "keyPart",
  "valuePart",
  "keyHeads",
  "parts",
  "tilesPerPart",
  // bytes of copied rows of keys
  "copyBytes",
] as const;
type BackwardArg = CommonArg | (typeof OWN_ARGS)[number];
export const BACKWARD_ARGS: readonly BackwardArg[] = [...COMMON_ARGS, ...OWN_ARGS];

/** Scratch bytes of a unit. */
export function backwardScratch(
  kind: AttentionKind,
  target: Target,
  sizes: { readonly keys: number; readonly keyDim: number; readonly valueDim: number },
): number {
  const queries = tileQueries(target, kind.narrow);
  const wide = paddedChannels(sizes.keyDim, target) + paddedChannels(sizes.valueDim, target);
  const tiles = 2 * KEY_BLOCK + sizes.keyDim + sizes.valueDim + 6;
  const copies = copyBytes(kind, target, sizes.keyDim) + listBytes(kind, 4);
  return (
    4 * (queries * tiles + (queries + sizes.keys) * wide) + sumsBytes(kind, target, sizes.keyDim) + copies
  );
}

/**
 * `slopes(scores, products, rows, keys, bounds, state, cap, capInverse, slope)`: scores become weights p, products dy . v become
 * p (dy . v - delta), bent by the soft cap. The log-sum-exp and delta of the lanes are two rows at `state`.
 */
function defineSlopes(module: ModuleBuilder, kind: AttentionKind, masked: boolean): FunctionRef {
  return module.define(
    masked ? "slopesMasked" : "slopes",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "f32", "f32", "f32"] },
    (f, scores, products, rows, keys, bounds, state, cap, capInverse, slope) => {
      const line = 4 * tileQueries(f.target, kind.narrow);
      const factors = {
        cap: f.f32x4.splat(cap),
        capInverse: f.f32x4.splat(capInverse),
        slope: f.f32x4.splat(slope),
      };
      const end = f.i32.add(scores, f.i32.mul(rows, line));
      const offsets = vectorsOf(f, kind);
      const logSums = offsets.map((o) => f.mem.vec.load(state, o));
      const deltas = offsets.map((o) => f.mem.vec.load(state, line + o));
      f.sweep(
        scores,
        end,
        [
          [scores, line],
          [products, line],
          [keys, keyStep(kind)],
        ],
        () => {
          const key = masked || kind.slopes ? keyNumber(f, kind, keys) : keys;
          offsets.forEach((offset, v) => {
            const t: ScoreTile = { bounds, key, at: scores, offset };
            const { score, bent } = bentScore(f, kind, t, f.mem.vec.load(scores, offset), factors);
            let weight = powerOfTwo(f, f.f32x4.sub(score, logSums[v]!));
            if (masked) weight = f.v128.and(weight, visibility(f, kind, t));
            const along = f.f32x4.sub(f.mem.vec.load(products, offset), deltas[v]!);
            let ds = f.f32x4.mul(weight, along);
            if (bent) ds = f.f32x4.mul(ds, f.f32x4.nmadd(bent, bent, 1));
            f.mem.vec.store(scores, offset, weight);
            f.mem.vec.store(products, offset, ds);
          });
        },
      );
    },
  );
}

/** `padRows(from, pitch, rows, channels, to, toPitch, factor)`: Q rows of whole vectors, zeros beyond the channels and the rows. */
function definePadRows(module: ModuleBuilder, queries: number): FunctionRef {
  return module.define(
    "padRows",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "f32"] },
    (f, from, pitch, rows, channels, to, toPitch, factor) => {
      clear(f, to, f.i32.mul(toPitch, queries));
      const bytes = f.i32.shl(channels, 2);
      const vectors = f.i32.and(bytes, -4 * f.lanes);
      f.loop(0, rows, 1, () => {
        f.loop(0, vectors, 4 * f.lanes, (at) => {
          f.mem.vec.store(
            f.i32.add(to, at),
            0,
            f.f32x4.mul(f.mem.vec.load(f.i32.add(from, at)), f.f32x4.splat(factor)),
          );
        });
        f.loop(vectors, bytes, 4, (at) => {
          f.mem.f32.store(f.i32.add(to, at), 0, f.f32.mul(f.mem.f32.load(f.i32.add(from, at)), factor));
        });
        f.advance(from, pitch);
        f.advance(to, toPitch);
      });
    },
  );
}

/** `cutRows(from, fromPitch, rows, channels, to, pitch)`: the channels of padded rows to where they belong. */
function defineCutRows(module: ModuleBuilder): FunctionRef {
  return module.define(
    "cutRows",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, from, fromPitch, rows, channels, to, pitch) => {
      const bytes = f.i32.shl(channels, 2);
      const vectors = f.i32.and(bytes, -4 * f.lanes);
      f.loop(0, rows, 1, () => {
        f.loop(0, vectors, 4 * f.lanes, (at) =>
          f.mem.vec.store(f.i32.add(to, at), 0, f.mem.vec.load(f.i32.add(from, at))),
        );
        f.loop(vectors, bytes, 4, (at) =>
          f.mem.f32.store(f.i32.add(to, at), 0, f.mem.f32.load(f.i32.add(from, at))),
        );
        f.advance(from, fromPitch);
        f.advance(to, pitch);
      });
    },
  );
}

/**
 * `spread(tile, q, pitch, to, rows)`: `to[r] += sum over lanes of tile[r] q[lane]` for rows as wide as the padded channels, `pitch`
 * bytes. With lists of blocks `to` is the list of their addresses.
 */
function defineSpread(module: ModuleBuilder, kind: AttentionKind, queries: number): FunctionRef {
  const listed = kind.blocks ? "c" : undefined;
  const two = defineProduct(module, { contiguous: "steps", rows: 4, vectors: 2, listed });
  const one = defineProduct(module, { contiguous: "steps", rows: 8, vectors: 1, listed });
  return module.define(
    "spread",
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, tile, right, pitch, to, rows) => {
      const line = 4 * queries;
      const pair = 8 * f.lanes;
      const pairs = f.i32.and(pitch, -pair);
      const add = (fn: FunctionRef, at: I32Value): void => {
        const c = kind.blocks ? [to, at] : [f.i32.add(to, at), pitch];
        f.call(fn, tile, line, f.i32.add(right, at), pitch, ...c, rows, queries, 1);
      };
      f.loop(0, pairs, pair, (at) => add(two, at));
      f.if(f.i32.ltU(pairs, pitch), () => add(one, pairs));
    },
  );
}

export function buildBackward(module: ModuleBuilder, kind: AttentionKind): void {
  const queries = tileQueries(module.target, kind.narrow);
  const pack = definePack(module, queries);
  const sums = defineTileSums(module, kind);
  const bounds = defineBounds(module, queries);
  const padRows = definePadRows(module, queries);
  const cutRows = defineCutRows(module);
  const scores = defineScores(module, kind.narrow, kind.blocks);
  const spread = defineSpread(module, kind, queries);
  const slopes = defineSlopes(module, kind, false);
  const slopesMasked = defineSlopes(module, kind, true);
  const line = 4 * queries;

  module.define(
    "attentionGrad",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, BACKWARD_ARGS);
      const float = argFloat(f, args, BACKWARD_ARGS);
      const sum = (...terms: I32Value[]): I32Value => terms.reduce((x, y) => f.i32.add(x, y));
      const [keyDim, valueDim, heads, keys] = [arg("keyDim"), arg("valueDim"), arg("heads"), arg("keys")];
      const [kTime, vTime] = [arg("kTime"), arg("vTime")];
      const paddedBytes = (channels: I32Value): I32Value =>
        f.i32.and(f.i32.add(f.i32.shl(channels, 2), 4 * f.lanes - 1), -4 * f.lanes);
      const [keyPitch, valuePitch] = [paddedBytes(keyDim), paddedBytes(valueDim)];

      const limits = scratch;
      const state = f.i32.add(limits, 3 * line);
      const ones = f.i32.add(state, 2 * line);
      const weights = f.i32.add(ones, line);
      const products = f.i32.add(weights, KEY_BLOCK * line);
      const qTile = f.i32.add(products, KEY_BLOCK * line);
      const dqTile = f.i32.add(qTile, f.i32.mul(keyDim, line));
      const dqBytes = f.i32.mul(sums.queryBytes(f, keyDim), queries);
      const dyTile = f.i32.add(dqTile, dqBytes);
      const qRows = f.i32.add(dyTile, f.i32.mul(valueDim, line));
      const dyRows = f.i32.add(qRows, f.i32.mul(keyPitch, queries));
      const dk = f.i32.add(dyRows, f.i32.mul(valuePitch, queries));
      const dv = f.i32.add(dk, f.i32.mul(keyPitch, keys));
      const copies = f.i32.add(dv, f.i32.mul(valuePitch, keys));
      const lists = f.i32.add(copies, arg("copyBytes"));
      for (let at = 0; at < line; at += 4) f.mem.f32.store(ones, at, float("scale"));

      f.loop(begin, end, 1, (unit) => {
        // unit = (batch * key heads + key head) * parts + part
        const keyHead = f.i32.divU(unit, arg("parts"));
        const part = f.i32.sub(unit, f.i32.mul(keyHead, arg("parts")));
        const b = f.i32.divU(keyHead, arg("keyHeads"));
        const hk = f.i32.sub(keyHead, f.i32.mul(b, arg("keyHeads")));
        const k = sum(arg("k"), f.i32.mul(b, arg("kBatch")), f.i32.mul(hk, arg("kHead")));
        const v = sum(arg("v"), f.i32.mul(b, arg("vBatch")), f.i32.mul(hk, arg("vHead")));
        clear(f, dk, f.i32.mul(keyPitch, keys));
        clear(f, dv, f.i32.mul(valuePitch, keys));
        const firstHead = f.i32.mul(hk, arg("group"));
        const firstTile = f.i32.mul(part, arg("tilesPerPart"));
        const lastTile = smaller(f, f.i32.add(firstTile, arg("tilesPerPart")), arg("tiles"));
        f.loop(firstHead, f.i32.add(firstHead, arg("group")), 1, (h) => {
          const slope = f.variable("f32", 0);
          if (kind.slopes) {
            const at = sum(arg("slopes"), f.i32.mul(b, arg("slopeBatch")), f.i32.shl(h, 2));
            f.set(slope, f.f32.mul(f.mem.f32.load(at), Math.LOG2E));
          }
          f.loop(firstTile, lastTile, 1, (tile) => {
            const span = spanOf(f, kind, arg, b, tile);
            ifRows(f, kind, span, () => {
              const { first } = span;
              const start = (name: "q" | "dy"): I32Value =>
                sum(
                  arg(name),
                  f.i32.mul(b, arg(`${name}Batch`)),
                  f.i32.mul(h, arg(`${name}Head`)),
                  f.i32.mul(first, arg(`${name}Time`)),
                );
              const [q, dy] = [start("q"), start("dy")];
              f.call(pack, q, arg("qTime"), span.rows, keyDim, qTile, float("scoreScale"));
              f.call(pack, dy, arg("dyTime"), span.rows, valueDim, dyTile, 1);
              f.call(padRows, q, arg("qTime"), span.rows, keyDim, qRows, keyPitch, float("scale"));
              f.call(padRows, dy, arg("dyTime"), span.rows, valueDim, dyRows, valuePitch, 1);
              f.call(bounds, limits, span.own, arg("left"), arg("right"), span.keys, span.valid, arg("iota"));
              clear(f, dqTile, dqBytes);
              // lanes without a row: no weight, so that they add nothing to keys and values
              const row = f.i32.shl(
                f.i32.add(f.i32.mul(f.i32.add(f.i32.mul(b, heads), h), arg("queries")), first),
                2,
              );
              const rowBytes = f.i32.shl(span.rows, 2);
              f.loop(0, rowBytes, 4, (at) => {
                const to = f.i32.add(state, at);
                const logSum = f.mem.f32.load(f.i32.add(f.i32.add(arg("lse"), row), at));
                f.mem.f32.store(to, 0, f.f32.mul(logSum, Math.LOG2E));
                f.mem.f32.store(to, line, f.mem.f32.load(f.i32.add(f.i32.add(arg("delta"), row), at)));
              });
              f.loop(rowBytes, line, 4, (at) => {
                f.mem.f32.store(f.i32.add(state, at), 0, 3e38);
                f.mem.f32.store(f.i32.add(state, at), line, 0);
              });
              const rows = [
                { at: k, stride: kTime },
                { at: v, stride: vTime },
                { at: dk, stride: keyPitch },
                { at: dv, stride: valuePitch },
              ];
              eachKeyBlock(
                f,
                kind,
                { arg, span, head: h, rows, lists },
                ({ n, all, keys: at, rows: lines }) => {
                  const [kAt, vAt, dkAt, dvAt] = lines as [I32Value, I32Value, I32Value, I32Value];
                  f.call(scores, kAt, kTime, qTile, line, weights, line, n, keyDim, 0);
                  f.call(scores, vAt, vTime, dyTile, line, products, line, n, valueDim, 0);
                  const factors = [float("cap"), float("capInverse"), slope] as const;
                  const rest = [weights, products, n, at, limits, state, ...factors] as const;
                  f.if(
                    all,
                    () => f.call(slopes, ...rest),
                    () => f.call(slopesMasked, ...rest),
                  );
                  sums.add(f, {
                    tile: products,
                    n,
                    rows: kAt,
                    stride: kTime,
                    channels: keyDim,
                    sums: dqTile,
                    accumulate: 1,
                    copies,
                  });
                  f.call(spread, products, qRows, keyPitch, dkAt, n);
                  f.call(spread, weights, dyRows, valuePitch, dvAt, n);
                },
              );
              const tokenBytes = f.i32.shl(f.i32.mul(heads, keyDim), 2);
              const token = f.i32.add(f.i32.mul(b, arg("queries")), first);
              const dq = sum(arg("dq"), f.i32.mul(token, tokenBytes), f.i32.shl(f.i32.mul(h, keyDim), 2));
              f.call(sums.place, dqTile, keyDim, ones, dq, tokenBytes, span.rows);
            });
          });
        });
        const place = (to: I32Value, partBytes: I32Value, channels: I32Value): I32Value => {
          const index = f.i32.add(f.i32.mul(f.i32.mul(b, keys), arg("keyHeads")), hk);
          return sum(to, f.i32.mul(part, partBytes), f.i32.shl(f.i32.mul(index, channels), 2));
        };
        const pitchOf = (channels: I32Value): I32Value => f.i32.shl(f.i32.mul(arg("keyHeads"), channels), 2);
        f.call(
          cutRows,
          dk,
          keyPitch,
          keys,
          keyDim,
          place(arg("dk"), arg("keyPart"), keyDim),
          pitchOf(keyDim),
        );
        f.call(
          cutRows,
          dv,
          valuePitch,
          keys,
          valueDim,
          place(arg("dv"), arg("valuePart"), valueDim),
          pitchOf(valueDim),
        );
      });
    },
  );
}
