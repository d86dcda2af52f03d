// How a tile of queries meets the keys: which of them it sees, at most 64 at a time; all within a range, or those of listed blocks,
// of which as many as fit are taken together, wherever they lie.

import type { FunctionBuilder } from "@everlong/wasm";
import { larger, smaller, type I32Value } from "../wasm-emit.ts";
import { KEY_BLOCK, tileQueries } from "./wasm-tiles.ts";

/** What a kernel is built for. */
export interface AttentionKind {
  readonly softCap: boolean;
  readonly slopes: boolean;
  /** Keys come from lists of blocks. */
  readonly blocks: boolean;
  /** Tiles of one vector of queries. */
  readonly narrow: boolean;
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
  const queries = tileQueries(f.target, kind.narrow);
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
  const rows = smaller(f, f.i32.sub(end, first), tileQueries(f.target, kind.narrow));
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

/** Rows of keys in memory: the first one and the bytes from one to the next. */
export interface KeyRows {
  readonly at: I32Value;
  readonly stride: I32Value;
}

/** Up to 64 keys that a tile meets at once. */
export interface KeyBlock {
  readonly n: I32Value;
  /** Whether every query of the tile sees every one. */
  readonly all: I32Value;
  /** The first key's number; with lists of blocks, the address of all their numbers. */
  readonly keys: I32Value;
  /** For each of the rows asked for, the address of the first key's; with lists of blocks, that of a list of addresses. */
  readonly rows: readonly I32Value[];
}

/** Bytes of a list of numbers or addresses of keys. */
const LIST = 4 * KEY_BLOCK;
/** Scratch bytes for the numbers of the keys taken at once, and for the addresses of `rows` rows of each. */
export const listBytes = (kind: AttentionKind, rows: number): number => (kind.blocks ? (1 + rows) * LIST : 0);

/** The number of a row's key, of which {@link KeyBlock.keys} moved on by {@link keyStep} for each row. */
export const keyNumber = (f: FunctionBuilder, kind: AttentionKind, keys: I32Value): I32Value =>
  kind.blocks ? f.mem.i32.load(keys) : keys;
export const keyStep = (kind: AttentionKind): number => (kind.blocks ? 4 : 1);

export interface KeyWalk {
  readonly arg: Reader;
  readonly span: Span;
  readonly head: I32Value;
  readonly rows: readonly KeyRows[];
  /** Scratch of `listBytes`. */
  readonly lists: I32Value;
}

/** Visits the keys that a tile sees, at most 64 at a time. */
export function eachKeyBlock(
  f: FunctionBuilder,
  kind: AttentionKind,
  walk: KeyWalk,
  body: (block: KeyBlock) => void,
): void {
  if (kind.blocks) eachListedBlock(f, walk, body);
  else eachStretch(f, walk, body);
}

const rowOf = (f: FunctionBuilder, { at, stride }: KeyRows, key: I32Value): I32Value =>
  f.i32.add(at, f.i32.mul(key, stride));

const seenByAll = (f: FunctionBuilder, span: Span, from: I32Value, to: I32Value): I32Value =>
  f.i32.and(f.i32.geS(from, span.allFrom), f.i32.leS(to, span.allTo));

function eachStretch(f: FunctionBuilder, { span, rows }: KeyWalk, body: (block: KeyBlock) => void): void {
  const key = f.variable("i32", span.from);
  f.block((done) => {
    f.doWhile(() => {
      f.brIf(done, f.i32.geS(key, span.to));
      const n = blockLength(f, span, key, span.to);
      const all = seenByAll(f, span, key, f.i32.add(key, n));
      body({ n, all, keys: key, rows: rows.map((r) => rowOf(f, r, key)) });
      f.advance(key, n);
      return 1;
    });
  });
}

function eachListedBlock(
  f: FunctionBuilder,
  { arg, span, head, rows, lists }: KeyWalk,
  body: (block: KeyBlock) => void,
): void {
  const patterns = f.i32.add(f.i32.mul(head, arg("blockHead")), arg("blockStarts"));
  const list = f.i32.muladd(span.blockRow, 4, patterns);
  const at = f.variable("i32", larger(f, f.mem.i32.load(list, 0), 0));
  const last = smaller(f, f.mem.i32.load(list, 4), arg("blockEntries"));
  const [key, end] = [f.variable("i32", 0), f.variable("i32", 0)];
  f.block((done) => {
    f.doWhile(() => {
      const n = f.variable("i32", 0);
      const all = f.variable("i32", 1);
      f.block((full) => {
        f.doWhile(() => {
          f.if(f.i32.geS(key, end), () => {
            f.brIf(full, f.i32.geS(at, last));
            const column = f.mem.i32.load(f.i32.muladd(at, 4, arg("blockColumns")));
            const from = f.i32.mul(column, arg("blockKeys"));
            f.set(key, larger(f, from, span.from));
            f.set(end, smaller(f, f.i32.add(from, arg("blockKeys")), span.to));
            f.advance(at, 1);
          });
          f.if(f.i32.ltS(key, end), () => {
            const stop = smaller(f, end, f.i32.sub(f.i32.add(key, KEY_BLOCK), n));
            f.set(all, f.i32.and(all, seenByAll(f, span, key, stop)));
            const to = f.variable("i32", f.i32.muladd(n, 4, lists));
            f.set(n, f.i32.sub(f.i32.add(n, stop), key));
            const moving = rows.map((r) => f.variable("i32", rowOf(f, r, key)));
            f.doWhile(() => {
              f.mem.i32.store(to, 0, key);
              moving.forEach((row, i) => {
                f.mem.i32.store(to, (i + 1) * LIST, row);
                f.advance(row, rows[i]!.stride);
              });
              f.advance(to, 4);
              f.advance(key, 1);
              return f.i32.ltS(key, stop);
            });
          });
          return f.i32.ltS(n, KEY_BLOCK);
        });
      });
      f.brIf(done, f.i32.eqz(n));
      body({ n, all, keys: lists, rows: rows.map((_, i) => f.i32.add(lists, (i + 1) * LIST)) });
      return 1;
    });
  });
}
