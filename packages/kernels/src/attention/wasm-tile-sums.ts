// Sums over keys of a tile's weights times rows of values (or of keys, in the gradient). Tiles of two vectors keep them as
// `[channels][Q]`, like everything else. In a tile of one vector a number that is read into all lanes would serve a single multiply-add, and
// reading bounds the time; there sums are `[Q][channels]`: numbers are weights, lanes channels.

import type { FunctionBuilder, FunctionRef, ModuleBuilder, Target } from "@everlong/wasm";
import type { I32Value } from "../wasm-emit.ts";
import type { AttentionKind } from "./wasm-key-walk.ts";
import {
  KEY_BLOCK,
  copyPitch,
  defineCopyRows,
  defineProduct,
  defineUnpack,
  paddedChannels,
  tileQueries,
} from "./wasm-tiles.ts";

export interface TileSums {
  /** `sums (+)= tile^T rows` for `n` keys, whose rows are `stride` apart from `rows` on, or where the list at `rows` says. */
  readonly add: (
    f: FunctionBuilder,
    what: {
      readonly tile: I32Value;
      readonly n: I32Value;
      readonly rows: I32Value;
      readonly stride: I32Value;
      readonly channels: I32Value;
      readonly sums: I32Value;
      readonly accumulate: I32Value | number;
      /** Scratch for copies of rows, `copyBytes`. */
      readonly copies: I32Value;
    },
  ) => void;
  /** `place(sums, channels, factors, to, pitch, rows)`: up to Q rows where they belong, that of query i times `factors[i]`. */
  readonly place: FunctionRef;
  /** Bytes of the sums of one query. */
  readonly queryBytes: (f: FunctionBuilder, channels: I32Value) => I32Value;
}

/** Scratch bytes of sums. */
export const sumsBytes = (kind: AttentionKind, target: Target, channels: number): number =>
  4 * tileQueries(target, kind.narrow) * (kind.narrow ? paddedChannels(channels, target) : channels);

/** Scratch bytes of copied rows. */
export const copyBytes = (kind: AttentionKind, target: Target, channels: number): number =>
  kind.blocks ? KEY_BLOCK * copyPitch(channels, target) : 0;

const padded = (f: FunctionBuilder, channels: I32Value): I32Value =>
  f.i32.and(f.i32.add(f.i32.shl(channels, 2), 4 * f.lanes - 1), -4 * f.lanes);

export function defineTileSums(module: ModuleBuilder, kind: AttentionKind): TileSums {
  const queries = tileQueries(module.target, kind.narrow);
  const line = 4 * queries;
  const copyRows = kind.blocks ? defineCopyRows(module) : undefined;
  const blends = kind.narrow
    ? { listed: defineBlend(module, queries, true), copied: defineBlend(module, queries, false) }
    : undefined;
  const mix = defineProduct(module, { contiguous: "rows", rows: 4, vectors: 2 });
  return {
    place: kind.narrow ? defineScaleRows(module) : defineUnpack(module, queries),
    queryBytes: (f, channels) => (kind.narrow ? padded(f, channels) : f.i32.shl(channels, 2)),
    add: (f, { tile, n, rows, stride, channels, sums, accumulate, copies }) => {
      const pitch = f.i32.add(padded(f, channels), 64);
      const copy = (): void => {
        if (copyRows) f.call(copyRows, rows, n, channels, copies, pitch);
      };
      if (blends) {
        const bytes = padded(f, channels);
        const rest = [sums, bytes, accumulate] as const;
        // whole vectors of rows are read, so rows that end within one are copied first
        f.if(
          f.i32.eq(bytes, f.i32.shl(channels, 2)),
          () => f.call(blends.listed, tile, n, rows, 0, ...rest),
          () => {
            copy();
            f.call(blends.copied, tile, n, copies, pitch, ...rest);
          },
        );
        return;
      }
      // columns of listed rows are read from copies
      copy();
      const [from, step] = copyRows ? [copies, pitch] : [rows, stride];
      f.call(mix, from, step, tile, line, sums, line, channels, n, accumulate);
    },
  };
}

/** `blend(tile, n, rows, pitch, sums, sumPitch, accumulate)` with `sums[q] (+)= sum over keys of tile[key][q] rows[key]`. */
function defineBlend(module: ModuleBuilder, queries: number, listed: boolean): FunctionRef {
  const kind = { contiguous: "rows", listed: listed ? "b" : undefined } as const;
  const two = defineProduct(module, { ...kind, rows: 4, vectors: 2 });
  const one = defineProduct(module, { ...kind, rows: 8, vectors: 1 });
  return module.define(
    listed ? "blendListed" : "blendCopied",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, tile, n, rows, pitch, sums, sumPitch, accumulate) => {
      const line = 4 * queries;
      const pair = 8 * f.lanes;
      const pairs = f.i32.and(sumPitch, -pair);
      const add = (fn: FunctionRef, at: I32Value): void => {
        const b = listed ? [rows, at] : [f.i32.add(rows, at), pitch];
        f.call(fn, tile, line, ...b, f.i32.add(sums, at), sumPitch, queries, n, accumulate);
      };
      f.loop(0, pairs, pair, (at) => add(two, at));
      f.if(f.i32.ltU(pairs, sumPitch), () => add(one, pairs));
    },
  );
}

/** `scaleRows(from, channels, factors, to, pitch, rows)` */
function defineScaleRows(module: ModuleBuilder): FunctionRef {
  return module.define(
    "scaleRows",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, from, channels, factors, to, pitch, rows) => {
      const bytes = f.i32.shl(channels, 2);
      const vectors = f.i32.and(bytes, -4 * f.lanes);
      f.loop(0, rows, 1, () => {
        f.loop(0, vectors, 4 * f.lanes, (at) => {
          const scaled = f.f32x4.mul(f.mem.vec.load(f.i32.add(from, at)), f.mem.vec.load32Splat(factors));
          f.mem.vec.store(f.i32.add(to, at), 0, scaled);
        });
        f.loop(vectors, bytes, 4, (at) => {
          const scaled = f.f32.mul(f.mem.f32.load(f.i32.add(from, at)), f.mem.f32.load(factors));
          f.mem.f32.store(f.i32.add(to, at), 0, scaled);
        });
        f.advance(from, padded(f, channels));
        f.advance(to, pitch);
        f.advance(factors, 4);
      });
    },
  );
}
