// How a tile of queries meets the keys: which of them it sees, in stretches of at most 64; all within a range, or those of listed
// blocks.

import type { FunctionBuilder, Variable } from "@everlong/wasm";
import { larger, smaller, type I32Value } from "../wasm-emit.ts";
import { KEY_BLOCK, tileQueries } from "./wasm-tiles.ts";

/** What a kernel is built for. */
export interface AttentionKind {
  readonly softCap: boolean;
  readonly slopes: boolean;
  /** Keys come from lists of blocks. */
  readonly blocks: boolean;
}

/**
 * Words that both directions share. Strides are in bytes; `left` and `right` are large where there is no limit; `scoreScale`, `cap`
 * and `capInverse` are for scores in units of ln 2.
 */
export const COMMON_ARGS = [
  "q",
  "k",
  "v",
  "lse",
  "slopes",
  "keyLengths",
  "queryLengths",
  "iota",
  "qBatch",
  "qTime",
  "qHead",
  "kBatch",
  "kTime",
  "kHead",
  "vBatch",
  "vTime",
  "vHead",
  "heads",
  "group",
  "queries",
  "keys",
  "keyDim",
  "valueDim",
  "tiles",
  "left",
  "right",
  "slopeBatch",
  "scale",
  "scoreScale",
  "cap",
  "capInverse",
  // lists of blocks: addresses, bytes from one head's starts to the next (0: shared), entries, rows and keys of a block, and
  // tiles of a row of blocks
  "blockStarts",
  "blockColumns",
  "blockHead",
  "blockEntries",
  "blockQueries",
  "blockKeys",
  "tilesPerRow",
] as const;
export type CommonArg = (typeof COMMON_ARGS)[number];

/** How a tile of queries stands to the keys. */
export interface Span {
  /** Position of the tile's first query among the keys. */
  readonly own: I32Value;
  /** Rows of the tile that exist, and those of them that are no padding. */
  readonly rows: I32Value;
  readonly valid: I32Value;
  /** Keys that some query sees, and those that every query sees. */
  readonly from: I32Value;
  readonly to: I32Value;
  readonly allFrom: I32Value;
  readonly allTo: I32Value;
  readonly keys: I32Value;
  /** The tile's first query, and with lists of blocks its row of blocks. */
  readonly first: I32Value;
  readonly blockRow: I32Value;
}

type Reader = (name: CommonArg) => I32Value;

/** Tiles do not cross rows of blocks, so that all their queries share one list; `end` may lie before `first`: an empty tile. */
function tileRows(
  f: FunctionBuilder,
  kind: AttentionKind,
  arg: Reader,
  tile: I32Value,
): { first: I32Value; end: I32Value; blockRow: I32Value } {
  const queries = tileQueries(f.target);
  if (!kind.blocks)
    return { first: f.i32.mul(tile, queries), end: arg("queries"), blockRow: f.i32.constant(0) };
  const blockRow = f.i32.divU(tile, arg("tilesPerRow"));
  const rowStart = f.i32.mul(blockRow, arg("blockQueries"));
  const within = f.i32.sub(tile, f.i32.mul(blockRow, arg("tilesPerRow")));
  return {
    blockRow,
    first: f.i32.add(rowStart, f.i32.mul(within, queries)),
    end: smaller(f, f.i32.add(rowStart, arg("blockQueries")), arg("queries")),
  };
}

export function spanOf(
  f: FunctionBuilder,
  kind: AttentionKind,
  arg: Reader,
  batch: I32Value,
  tile: I32Value,
): Span {
  const lengthOf = (lengths: I32Value, size: I32Value): I32Value => {
    const found = f.variable("i32", size);
    f.if(lengths, () => {
      const given = f.mem.i32.load(f.i32.muladd(batch, 4, lengths));
      f.set(found, smaller(f, larger(f, given, 0), size));
    });
    return f.i32.add(found, 0);
  };
  const keys = lengthOf(arg("keyLengths"), arg("keys"));
  const queries = lengthOf(arg("queryLengths"), arg("queries"));
  const { first, end, blockRow } = tileRows(f, kind, arg, tile);
  const rows = smaller(f, f.i32.sub(end, first), tileQueries(f.target));
  const valid = larger(f, smaller(f, f.i32.sub(queries, first), rows), 0);
  const own = f.i32.add(first, f.i32.sub(keys, queries));
  const ownLast = f.i32.add(own, f.i32.sub(rows, 1));
  const none = f.i32.eqz(valid);
  const after = (position: I32Value): I32Value =>
    smaller(f, f.i32.add(f.i32.add(position, arg("right")), 1), keys);
  const whole = f.i32.eq(valid, rows);
  return {
    first,
    blockRow,
    own,
    rows,
    valid,
    keys,
    from: larger(f, f.i32.sub(own, arg("left")), 0),
    to: f.select<"i32">(none, 0, after(f.i32.add(own, f.i32.sub(valid, 1))), "i32"),
    allFrom: larger(f, f.i32.sub(ownLast, arg("left")), 0),
    allTo: f.select<"i32">(whole, after(own), 0, "i32"),
  };
}

/** Runs `body` for tiles that have queries; where rows of blocks are no multiple of tiles some have none. */
export function ifRows(f: FunctionBuilder, kind: AttentionKind, span: Span, body: () => void): void {
  if (kind.blocks) f.if(f.i32.gtS(span.rows, 0), body);
  else body();
}

/** Keys of the next block: it ends where some query sees no further, so that few keys need a mask; a multiple of four rows. */
function blockLength(f: FunctionBuilder, span: Span, key: I32Value, end: I32Value): I32Value {
  const rest = smaller(f, f.i32.sub(end, key), KEY_BLOCK);
  const open = f.i32.and(f.i32.sub(span.allTo, key), -4);
  const seen = f.i32.and(f.i32.geS(key, span.allFrom), f.i32.gtS(open, 0));
  return f.select(f.i32.and(seen, f.i32.ltS(open, rest)), open, rest);
}

/** Visits the keys that a tile sees, at most 64 at a time: `n` keys from `key` on; `all`: every query of the tile sees every one. */
export function eachKeyBlock(
  f: FunctionBuilder,
  kind: AttentionKind,
  arg: Reader,
  span: Span,
  head: I32Value,
  body: (key: I32Value, n: I32Value, all: I32Value) => void,
): void {
  const key = f.variable("i32", kind.blocks ? 0 : span.from);
  const end = kind.blocks ? f.variable("i32", 0) : span.to;
  const step = (): void => {
    const n = blockLength(f, span, key, end);
    body(key, n, f.i32.and(f.i32.geS(key, span.allFrom), f.i32.leS(f.i32.add(key, n), span.allTo)));
    f.advance(key, n);
  };
  if (!kind.blocks) {
    f.block((done) => {
      f.doWhile(() => {
        f.brIf(done, f.i32.geS(key, span.to));
        step();
        return 1;
      });
    });
    return;
  }
  const lists = f.i32.add(f.i32.mul(head, arg("blockHead")), arg("blockStarts"));
  const list = f.i32.muladd(span.blockRow, 4, lists);
  const at = f.variable("i32", larger(f, f.mem.i32.load(list, 0), 0));
  const last = smaller(f, f.mem.i32.load(list, 4), arg("blockEntries"));
  const columnAt = (): I32Value => f.mem.i32.load(f.i32.muladd(at, 4, arg("blockColumns")));
  const column = f.variable("i32", 0);
  f.block((done) => {
    f.doWhile(() => {
      f.if(f.i32.geS(key, end), () => {
        f.brIf(done, f.i32.geS(at, last));
        f.set(column, columnAt());
        f.set(key, larger(f, f.i32.mul(column, arg("blockKeys")), span.from));
        // neighbours in the list that are neighbours among the keys make one stretch
        f.block((apart) => {
          f.doWhile(() => {
            f.advance(at, 1);
            f.advance(column, 1);
            f.brIf(apart, f.i32.geS(at, last));
            f.brIf(apart, f.i32.ne(columnAt(), column));
            return 1;
          });
        });
        f.set(end as Variable<"i32">, smaller(f, f.i32.mul(column, arg("blockKeys")), span.to));
      });
      f.if(f.i32.ltS(key, end), step);
      return 1;
    });
  });
}
