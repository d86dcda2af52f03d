// Lists of blocks: which blocks of keys each row of blocks of queries sees. Kernels walk them and never touch what is not listed.

import {
  ConfigError,
  ShapeError,
  argsort,
  cast,
  concat,
  cumsum,
  mod,
  narrow,
  not,
  reshape,
  show,
  sub,
  sum,
  tensor,
  type Device,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { need } from "../inputs.ts";

/** Queries and keys of a block. Blocks are cut from the first query and the first key on; the last ones may be shorter. */
export interface BlockSize {
  readonly queries: number;
  readonly keys: number;
}

/** For every row of blocks the columns that it sees, each at most once, in any order. */
export type BlockLists = readonly (readonly number[])[];

/** Lists of blocks on a device, in compressed rows: memory is one number a block. */
export interface AttentionBlocks extends BlockSize {
  /** i32 `[1, rows + 1]`, or `[H, rows + 1]` with lists of their own for each head: row r's list is `columns[starts[r]..starts[r + 1])`. */
  readonly starts: Tensor;
  /** i32 `[E]`: the lists one behind the other. */
  readonly columns: Tensor;
}

function checkSize({ queries, keys }: BlockSize): void {
  if (![queries, keys].every((n) => Number.isInteger(n) && n >= 1))
    throw new ConfigError("attention", "not a size of blocks", {
      expected: "positive integers",
      got: `${queries} x ${keys}`,
    });
}

/**
 * Lists of blocks for `attention`.
 * @param lists one for every `size.queries` queries (shared by all heads), or an array of such for every head.
 */
export function attentionBlocks(
  size: BlockSize,
  lists: BlockLists | readonly BlockLists[],
  options: { readonly device?: Device } = {},
): AttentionBlocks {
  checkSize(size);
  const perHead = lists.some((row) => row.some(Array.isArray));
  const patterns = (perHead ? lists : [lists]) as readonly BlockLists[];
  const rows = patterns[0]!.length;
  const columns: number[] = [];
  const starts = patterns.flatMap((pattern, p) => {
    if (pattern.length !== rows)
      throw new ShapeError("attention", "heads differ in rows of blocks", {
        expected: `${rows} lists`,
        got: `${pattern.length} for head ${p}`,
      });
    const at = [columns.length];
    for (const [r, list] of pattern.entries()) {
      if (new Set(list).size !== list.length || list.some((c) => !Number.isInteger(c) || c < 0))
        throw new ConfigError("attention", `row ${r} does not list blocks once each`, {
          got: list.join(", "),
        });
      for (const c of list) columns.push(c);
      at.push(columns.length);
    }
    return at;
  });
  const on = { dtype: "i32" as const, ...options };
  return {
    queries: size.queries,
    keys: size.keys,
    starts: tensor(Int32Array.from(starts), [patterns.length, rows + 1], on),
    // an entry that no list holds where all are empty
    columns: tensor(Int32Array.from(columns.length > 0 ? columns : [0]), on),
  };
}

/**
 * Lists of the blocks that are true in `mask`, made on the mask's device.
 * @param mask bool `[rows, columns]`, or `[H, rows, columns]`
 */
export function attentionBlocksOf(mask: Tensor, size: BlockSize): AttentionBlocks {
  checkSize(size);
  if ((mask.rank !== 2 && mask.rank !== 3) || mask.dtype !== "bool")
    throw new ShapeError("attention", "a mask of blocks has the wrong form", {
      expected: "bool [rows, columns] or [H, rows, columns]",
      got: `${mask.dtype} ${show(mask.shape)}`,
    });
  const [rows, columns] = mask.shape.slice(-2) as [number, number];
  const patterns = mask.rank === 3 ? mask.shape[0]! : 1;
  const counts = reshape(sum(cast(mask, "i32"), -1), [patterns * rows]);
  const ends = cumsum(counts, 0);
  const begins = reshape(sub(ends, counts), [patterns, rows]);
  const last = narrow(reshape(ends, [patterns, rows]), 1, rows - 1, rows);
  // a stable sort puts what is listed first and keeps its order
  const order = argsort(cast(not(reshape(mask, [patterns * rows * columns])), "i32"));
  return {
    queries: size.queries,
    keys: size.keys,
    starts: concat([begins, last], 1),
    columns: mod(order, columns),
  };
}

/** Checks the lists among an op's inputs. */
export function checkLists(
  op: string,
  types: Readonly<Record<string, TensorType | undefined>>,
  heads: number,
  queries: number,
  size: readonly [number, number] | undefined,
): void {
  const { blockStarts, blockColumns } = types;
  if (!blockStarts && !blockColumns && !size) return;
  if (!blockStarts || !blockColumns || !size)
    throw new ConfigError(op, "lists of blocks need starts, columns and the size of a block");
  checkSize({ queries: size[0], keys: size[1] });
  const rows = Math.ceil(queries / size[0]);
  const patterns = blockStarts.shape[0] === 1 ? 1 : heads;
  need(op, "blockStarts", blockStarts, [patterns, rows + 1], "[1 or H, rows + 1]", "i32");
  need(op, "blockColumns", blockColumns, [undefined], "[E]", "i32");
}

/** Pairs of a query and a key per head in as many blocks as lists can hold. */
export const listedPairs = (
  starts: TensorType,
  columns: TensorType,
  [queries, keys]: readonly [number, number],
): number => (columns.shape[0]! / starts.shape[0]!) * queries * keys;
