// Block-sparse attention as an option of the layer: a pattern for all heads or one a head, drawn for the length at hand.

import {
  ConfigError,
  broadcastTo,
  checkOptions,
  greater,
  maximum,
  permute,
  quotient,
  reshape,
  sub,
  take,
  takeAlong,
  tensor,
  type Device,
  type Tensor,
} from "@everlong/core";
import { attentionBlocks, type AttentionBlocks, type BlockLists, type BlockSize } from "@everlong/kernels";
import type { BlockPattern } from "./block-patterns.ts";

/** What {@link MultiHeadAttention} takes as `blocks`. */
export interface AttentionBlockOptions {
  /** Queries and keys of a block. */
  readonly size: BlockSize;
  /** Shared by all heads, or one for each. */
  readonly pattern: BlockPattern | readonly BlockPattern[];
}

/** A layer's block patterns. */
export class AttentionBlockPatterns {
  readonly size: BlockSize;
  readonly #patterns: readonly BlockPattern[];

  constructor(options: AttentionBlockOptions, heads: number) {
    checkOptions("MultiHeadAttention.blocks", options, ["size", "pattern"]);
    const { size, pattern } = options;
    this.size = size;
    this.#patterns = typeof pattern === "function" ? [pattern] : pattern;
    if (this.#patterns.length !== 1 && this.#patterns.length !== heads)
      throw new ConfigError("MultiHeadAttention", "patterns do not fit the heads", {
        expected: `1 or ${heads}`,
        got: `${this.#patterns.length}`,
      });
  }

  /** The lists of every pattern for a number of queries and keys. */
  lists(queries: number, keys: number): BlockLists[] {
    const grid = {
      rows: Math.ceil(queries / this.size.queries),
      columns: Math.ceil(keys / this.size.keys),
      size: this.size,
    };
    return this.#patterns.map((p) => p(grid).map((list) => list.filter((c) => c < grid.columns)));
  }

  /** Lists for the kernels. */
  on(device: Device, queries: number, keys: number): AttentionBlocks {
    return attentionBlocks(this.size, this.lists(queries, keys), { device });
  }

  /** Whether the newest position of a sequence sees those of its cache: bool `[B, 1 or H, 1, S]`. */
  seen(positions: Tensor, length: Tensor): Tensor {
    const [batch, slots] = positions.shape as [number, number];
    const lists = this.lists(slots, slots);
    const [patterns, columns] = [lists.length, Math.ceil(slots / this.size.keys)];
    const rows = lists[0]!.length;
    const table = Int32Array.from({ length: patterns * rows * columns }, (_, i) => {
      const row = lists[Math.floor(i / (rows * columns))]![Math.floor(i / columns) % rows]!;
      return row.includes(i % columns) ? 1 : 0;
    });
    const all = tensor(table, [patterns, rows, columns], { dtype: "i32", device: positions.device });
    const newest = permute(take(all, quotient(sub(length, 1), this.size.queries), 1), [1, 0, 2]);
    const column = reshape(quotient(maximum(positions, 0), this.size.keys), [batch, 1, slots]);
    const listed = takeAlong(newest, broadcastTo(column, [batch, patterns, slots]), 2);
    return reshape(greater(listed, 0), [batch, patterns, 1, slots]);
  }

  /** Pairs of a query and a key per head that are listed and within reach. */
  pairs(time: number, left: number, right: number): number {
    const lists = this.lists(time, time);
    let pairs = 0;
    for (let i = 0; i < time; i++)
      for (const pattern of lists)
        for (const c of pattern[Math.floor(i / this.size.queries)]!) {
          const from = Math.max(c * this.size.keys, i - left);
          const to = Math.min((c + 1) * this.size.keys, time, i + right + 1);
          pairs += Math.max(0, to - from);
        }
    return pairs / lists.length;
  }
}
