// The forward kernel: a unit is a tile of queries of one head.

import {
  log,
  tanh,
  type FunctionBuilder,
  type FunctionRef,
  type ModuleBuilder,
  type Target,
  type Variable,
  type Vec,
} from "@everlong/wasm";
import { argFloat, argReader, type I32Value } from "../wasm-emit.ts";
import { powerOfTwo } from "../wasm-power.ts";
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
import { copyBytes, defineTileSums, sumsBytes, type TileSums } from "./wasm-tile-sums.ts";
import {
  HIDDEN,
  KEY_BLOCK,
  SEEN,
  clear,
  defineBounds,
  definePack,
  defineScores,
  tileQueries,
} from "./wasm-tiles.ts";

export const FORWARD_ARGS: readonly (CommonArg | "y" | "copyBytes")[] = [...COMMON_ARGS, "y", "copyBytes"];

export interface ScoreTile {
  /** Address of the int32 rows made by `bounds`. */
  readonly bounds: I32Value;
  /** Number of the key of this row, and its address in the tile. */
  readonly key: I32Value;
  readonly at: I32Value;
  /** Bytes from the row's start. */
  readonly offset: number;
}

/** Offsets of the vectors of a tile's row. */
export const vectorsOf = (f: FunctionBuilder, kind: AttentionKind): number[] =>
  kind.narrow ? [0] : [0, 4 * f.lanes];

/** A score after the soft cap and ALiBi; gives also the tanh within the cap. */
export function bentScore(
  f: FunctionBuilder,
  kind: AttentionKind,
  t: ScoreTile,
  raw: Vec,
  factors: { readonly cap: Vec; readonly capInverse: Vec; readonly slope: Vec },
): { readonly score: Vec; readonly bent: Vec | undefined } {
  let score = raw;
  let bent: Vec | undefined;
  if (kind.softCap) {
    bent = tanh(f, f.f32x4.mul(score, factors.capInverse));
    score = f.f32x4.mul(bent, factors.cap);
  }
  if (kind.slopes) {
    const line = 4 * tileQueries(f.target, kind.narrow);
    const own = f.mem.vec.load(t.bounds, 2 * line + t.offset);
    const distance = f.f32x4.abs(f.f32x4.sub(own, f.f32x4.splat(f.f32.convertI32S(t.key))));
    score = f.f32x4.nmadd(distance, factors.slope, score);
  }
  return { score, bent };
}

/** All ones where the lane's query sees the key. */
export function visibility(f: FunctionBuilder, kind: AttentionKind, t: ScoreTile): Vec {
  const line = 4 * tileQueries(f.target, kind.narrow);
  const key = f.i32x4.splat(t.key);
  const after = f.i32x4.geS(key, f.mem.vec.load(t.bounds, t.offset));
  return f.v128.and(after, f.i32x4.ltS(key, f.mem.vec.load(t.bounds, line + t.offset)));
}

/**
 * `weigh(scores, rows, keys, bounds, state, output, channels, started, cap, capInverse, slope)`: turns a tile of scores into weights
 * relative to the running maximum, updates maximum and sum (two rows at `state`), and rescales the output tile.
 */
function defineWeigh(
  module: ModuleBuilder,
  kind: AttentionKind,
  tileSums: TileSums,
  masked: boolean,
): FunctionRef {
  return module.define(
    masked ? "weighMasked" : "weigh",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "f32", "f32", "f32"] },
    (f, scores, rows, keys, bounds, state, output, channels, started, cap, capInverse, slope) => {
      const line = 4 * tileQueries(f.target, kind.narrow);
      const offsets = vectorsOf(f, kind);
      const end = f.i32.add(scores, f.i32.mul(rows, line));
      const factors = {
        cap: f.f32x4.splat(cap),
        capInverse: f.f32x4.splat(capInverse),
        slope: f.f32x4.splat(slope),
      };
      const before = offsets.map((o) => f.mem.vec.load(state, o));
      const tops = before.map((b) => f.vecVariable(b));
      {
        const at = f.variable("i32", scores);
        f.sweep(
          at,
          end,
          [
            [at, line],
            [keys, keyStep(kind)],
          ],
          () => {
            const key = masked || kind.slopes ? keyNumber(f, kind, keys) : keys;
            offsets.forEach((offset, v) => {
              const t: ScoreTile = { bounds, key, at, offset };
              let { score } = bentScore(f, kind, t, f.mem.vec.load(at, offset), factors);
              if (masked) score = f.v128.select(visibility(f, kind, t), score, HIDDEN);
              if (masked || kind.softCap || kind.slopes) f.mem.vec.store(at, offset, score);
              f.setVec(tops[v]!, f.f32x4.pmax(tops[v]!, score));
            });
          },
        );
      }
      const shrink = tops.map((top, v) => powerOfTwo(f, f.f32x4.sub(before[v]!, top)));
      const totals = shrink.map((s, v) =>
        f.vecVariable(f.f32x4.mul(f.mem.vec.load(state, line + offsets[v]!), s)),
      );
      {
        const at = f.variable("i32", scores);
        f.sweep(at, end, [[at, line]], () => {
          offsets.forEach((offset, v) => {
            const score = f.mem.vec.load(at, offset);
            let weight = powerOfTwo(f, f.f32x4.sub(score, tops[v]!));
            // not greater instead of less: NaN must stay
            if (masked) weight = f.v128.andnot(weight, f.f32x4.lt(score, SEEN));
            f.mem.vec.store(at, offset, weight);
            f.setVec(totals[v]!, f.f32x4.add(totals[v]!, weight));
          });
        });
      }
      offsets.forEach((offset, v) => {
        f.mem.vec.store(state, offset, tops[v]!);
        f.mem.vec.store(state, line + offset, totals[v]!);
      });
      f.if(started, () => rescale(f, kind, { sums: output, channels, state, shrink, tileSums }));
    },
  );
}

/** Sums of a tile times a factor for each query; the third row at `state` is free for the factors. */
function rescale(
  f: FunctionBuilder,
  kind: AttentionKind,
  {
    sums,
    channels,
    state,
    shrink,
    tileSums,
  }: {
    readonly sums: Variable<"i32">;
    readonly channels: I32Value;
    readonly state: I32Value;
    readonly shrink: readonly Vec[];
    readonly tileSums: TileSums;
  },
): void {
  const queries = tileQueries(f.target, kind.narrow);
  const line = 4 * queries;
  const times = (offset: number, factor: Vec): void =>
    f.mem.vec.store(sums, offset, f.f32x4.mul(f.mem.vec.load(sums, offset), factor));
  if (!kind.narrow) {
    f.loop(0, channels, 1, () => {
      shrink.forEach((factor, v) => times(4 * f.lanes * v, factor));
      f.advance(sums, line);
    });
    return;
  }
  f.mem.vec.store(state, 2 * line, shrink[0]!);
  const bytes = tileSums.queryBytes(f, channels);
  for (let q = 0; q < queries; q++)
    f.loop(0, bytes, 4 * f.lanes, () => {
      times(0, f.mem.vec.load32Splat(state, 2 * line + 4 * q));
      f.advance(sums, 4 * f.lanes);
    });
}

/** `close(state, lse, rows)`: 1 / sum over the sums, and the log-sum-exp of the existing rows to memory. */
function defineClose(module: ModuleBuilder, queries: number): FunctionRef {
  return module.define("close", { params: ["i32", "i32", "i32"] }, (f, state, lse, rows) => {
    const line = 4 * queries;
    for (let at = 0; at < line; at += 4 * f.lanes) {
      const total = f.mem.vec.load(state, line + at);
      const sum = f.f32x4.madd(f.mem.vec.load(state, at), Math.LN2, log(f, total));
      f.mem.vec.store(state, at, sum);
      const inverse = f.f32x4.div(1, total);
      f.mem.vec.store(state, line + at, f.v128.andnot(inverse, f.f32x4.eq(total, 0)));
    }
    f.loop(0, f.i32.shl(rows, 2), 4, (at) =>
      f.mem.f32.store(f.i32.add(lse, at), 0, f.mem.f32.load(f.i32.add(state, at))),
    );
  });
}

/** Scratch bytes of a forward unit. */
export const forwardScratch = (
  kind: AttentionKind,
  target: Target,
  keyDim: number,
  valueDim: number,
): number =>
  4 * tileQueries(target, kind.narrow) * (keyDim + KEY_BLOCK + 6) +
  sumsBytes(kind, target, valueDim) +
  copyBytes(kind, target, valueDim) +
  listBytes(kind, 2);

export function buildForward(module: ModuleBuilder, kind: AttentionKind): void {
  const queries = tileQueries(module.target, kind.narrow);
  const pack = definePack(module, queries);
  const sums = defineTileSums(module, kind);
  const bounds = defineBounds(module, queries);
  const scores = defineScores(module, kind.narrow, kind.blocks);
  const weigh = defineWeigh(module, kind, sums, false);
  const weighMasked = defineWeigh(module, kind, sums, true);
  const close = defineClose(module, queries);
  const line = 4 * queries;

  module.define(
    "attention",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, FORWARD_ARGS);
      const float = argFloat(f, args, FORWARD_ARGS);
      const [keyDim, valueDim, heads] = [arg("keyDim"), arg("valueDim"), arg("heads")];
      const [kTime, vTime] = [arg("kTime"), arg("vTime")];
      const limits = scratch;
      const state = f.i32.add(limits, 3 * line);
      const tile = f.i32.add(state, 3 * line);
      const packed = f.i32.add(tile, KEY_BLOCK * line);
      const output = f.i32.add(packed, f.i32.mul(keyDim, line));
      const outputBytes = f.i32.mul(sums.queryBytes(f, valueDim), queries);
      const copies = f.i32.add(output, outputBytes);
      const lists = f.i32.add(copies, arg("copyBytes"));
      f.loop(begin, end, 1, (unit) => {
        const head = f.i32.divU(unit, arg("tiles"));
        const tileNumber = f.i32.sub(unit, f.i32.mul(head, arg("tiles")));
        const b = f.i32.divU(head, heads);
        const h = f.i32.sub(head, f.i32.mul(b, heads));
        const hk = f.i32.divU(h, arg("group"));
        const span = spanOf(f, kind, arg, b, tileNumber);
        ifRows(f, kind, span, () => {
          const { first } = span;
          const sum = (...terms: I32Value[]): I32Value => terms.reduce((x, y) => f.i32.add(x, y));
          const q = sum(
            arg("q"),
            f.i32.mul(b, arg("qBatch")),
            f.i32.mul(h, arg("qHead")),
            f.i32.mul(first, arg("qTime")),
          );
          const k = sum(arg("k"), f.i32.mul(b, arg("kBatch")), f.i32.mul(hk, arg("kHead")));
          const v = sum(arg("v"), f.i32.mul(b, arg("vBatch")), f.i32.mul(hk, arg("vHead")));
          const slope = f.variable("f32", 0);
          if (kind.slopes) {
            const at = sum(arg("slopes"), f.i32.mul(b, arg("slopeBatch")), f.i32.shl(h, 2));
            f.set(slope, f.f32.mul(f.mem.f32.load(at), Math.LOG2E));
          }
          f.call(pack, q, arg("qTime"), span.rows, keyDim, packed, float("scoreScale"));
          f.call(bounds, limits, span.own, arg("left"), arg("right"), span.keys, span.valid, arg("iota"));
          for (let at = 0; at < line; at += 4 * f.lanes) {
            f.mem.vec.store(state, at, HIDDEN);
            f.mem.vec.store(state, line + at, 0);
          }
          const started = f.variable("i32", 0);
          const rows = [
            { at: k, stride: kTime },
            { at: v, stride: vTime },
          ];
          eachKeyBlock(f, kind, { arg, span, head: h, rows, lists }, ({ n, all, keys, rows: [kAt, vAt] }) => {
            f.call(scores, kAt!, kTime, packed, line, tile, line, n, keyDim, 0);
            const rest = [tile, n, keys, limits, state, output, valueDim, started] as const;
            const factors = [float("cap"), float("capInverse"), slope] as const;
            f.if(
              all,
              () => f.call(weigh, ...rest, ...factors),
              () => f.call(weighMasked, ...rest, ...factors),
            );
            sums.add(f, {
              tile,
              n,
              rows: vAt!,
              stride: vTime,
              channels: valueDim,
              sums: output,
              accumulate: started,
              copies,
            });
            f.set(started, 1);
          });
          const row = f.i32.add(f.i32.mul(head, arg("queries")), first);
          f.call(close, state, f.i32.muladd(row, 4, arg("lse")), span.rows);
          // y is [B, T, H, V]
          const tokenBytes = f.i32.shl(f.i32.mul(heads, valueDim), 2);
          const token = f.i32.add(f.i32.mul(b, arg("queries")), first);
          const y = sum(arg("y"), f.i32.mul(token, tokenBytes), f.i32.shl(f.i32.mul(h, valueDim), 2));
          f.if(f.i32.eqz(started), () => clear(f, output, outputBytes));
          f.call(sums.place, output, valueDim, f.i32.add(state, line), y, tokenBytes, span.rows);
        });
      });
    },
  );
}
