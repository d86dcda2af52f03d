// Patterns of block-sparse attention: which blocks of keys a block of queries sees, for any number of blocks. A pattern says the
// same about a block however long the sequence is, so that what comes later changes nothing before.

import { ConfigError } from "@everlong/core";
import type { BlockLists, BlockSize } from "@everlong/kernels";

/** A sequence cut into blocks: its rows of blocks of queries and columns of blocks of keys. */
export interface BlockGrid {
  readonly rows: number;
  readonly columns: number;
  readonly size: BlockSize;
}

/** Lists for the rows of a grid; columns beyond the grid may be named and count for nothing. */
export type BlockPattern = (grid: BlockGrid) => BlockLists;

const whole = (name: string, n: number, least: number): void => {
  if (!Number.isInteger(n) || n < least)
    throw new ConfigError("blocks", `${name} must be an integer of at least ${least}`, { got: `${n}` });
};

/**
 * Patterns are drawn on a grid of square units, as long as the longer side of a block: a block of queries sees the columns that
 * overlap a unit which its own unit meets.
 */
const overUnits =
  (meets: (own: number, other: number) => boolean): BlockPattern =>
  ({ rows, columns, size }) => {
    const unit = Math.max(size.queries, size.keys);
    const first = (block: number, length: number): number => Math.floor((block * length) / unit);
    const last = (block: number, length: number): number => Math.floor(((block + 1) * length - 1) / unit);
    const range = (block: number, length: number): number[] => {
      const from = first(block, length);
      return Array.from({ length: last(block, length) - from + 1 }, (_, i) => from + i);
    };
    return Array.from({ length: rows }, (_, r) => {
      const own = range(r, size.queries);
      return Array.from({ length: columns }, (_c, c) => c).filter((c) =>
        range(c, size.keys).some((other) => own.some((unitOfRow) => meets(unitOfRow, other))),
      );
    });
  };

/** Units at most `before` back and `after` ahead of their own. */
export function localBlocks(before: number, after: number = before): BlockPattern {
  whole("before", before, 0);
  whole("after", after, 0);
  return overUnits((own, other) => other >= own - before && other <= own + after);
}

/** Every `stride`-th unit, the last of each stride: columns that all rows see (Child et al. 2019, the "fixed" pattern). */
export function stridedBlocks(stride: number): BlockPattern {
  whole("stride", stride, 1);
  return overUnits((_, other) => (other + 1) % stride === 0);
}

/** The first `count` units, which all rows see. */
export function firstBlocks(count: number): BlockPattern {
  whole("count", count, 0);
  return overUnits((_, other) => other < count);
}

/**
 * The fixed butterfly pattern: a unit meets itself and the units whose number differs in one of the lowest `levels` binary digits,
 * the union of the block butterfly's factors ("flat block butterfly", Dao et al. 2021, arXiv 2112.00029; used by FlashAttention's
 * block-sparse experiments). After log2(n) such layers every unit has met every other.
 */
export function butterflyBlocks(levels = 32): BlockPattern {
  whole("levels", levels, 0);
  return overUnits((own, other) => {
    const difference = own ^ other;
    return (difference & (difference - 1)) === 0 && difference < 2 ** levels;
  });
}

/** Lists as they are, at least one for every row. */
export function listedBlocks(lists: BlockLists): BlockPattern {
  return ({ rows }) => {
    if (rows > lists.length)
      throw new ConfigError("blocks", "the lists are too few for the sequence", {
        expected: `at least ${rows}`,
        got: `${lists.length}`,
      });
    return lists.slice(0, rows);
  };
}

/** What any of the patterns names. */
export const unionOfBlocks =
  (...patterns: readonly BlockPattern[]): BlockPattern =>
  (grid) => {
    const all = patterns.map((p) => p(grid));
    return Array.from({ length: grid.rows }, (_, r) =>
      [...new Set(all.flatMap((lists) => lists[r]!))].sort((a, b) => a - b),
    );
  };
