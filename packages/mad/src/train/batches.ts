// Endless batches of a data set: every epoch in a new random order, decided by the seed.

import { ConfigError } from "@everlong/core";
import { defaultRng } from "@everlong/data";
import type { TaskData } from "../tasks/generate.ts";

/** Rows of a batch, `[rows, T]` each. */
export interface RowBatch {
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
  readonly rows: number;
}

/** Copies rows `order[from..from+rows-1]`. */
export function gatherRows(data: TaskData, order: ArrayLike<number>, from: number, rows: number): RowBatch {
  const { length } = data;
  const inputs = new Int32Array(rows * length);
  const targets = new Int32Array(rows * length);
  for (let r = 0; r < rows; r++) {
    const at = order[from + r]! * length;
    inputs.set(data.inputs.subarray(at, at + length), r * length);
    targets.set(data.targets.subarray(at, at + length), r * length);
  }
  return { inputs, targets, rows };
}

/**
 * Full batches for ever; rows that do not fill a batch wait for the next epoch's order.
 *
 * @param from batches to leave out at the start, for a run that goes on
 */
export function* shuffledBatches(
  data: TaskData,
  batch: number,
  seed: number,
  from: number = 0,
): Generator<RowBatch> {
  if (data.count < batch) {
    throw new ConfigError("mad run", "fewer rows than a batch", {
      expected: `at least ${batch}`,
      got: `${data.count}`,
    });
  }
  const rng = defaultRng(seed);
  for (let made = 0; ;) {
    const order = Int32Array.from(rng.permutation(data.count));
    for (let at = 0; at + batch <= data.count; at += batch)
      if (made++ >= from) yield gatherRows(data, order, at, batch);
  }
}
