// Whether a test set repeats rows of its training set.

import { DataError, ShapeError } from "@everlong/core";
import type { TaskData } from "./generate.ts";

/** What {@link findLeakage} counts. */
export interface Leakage {
  /** Distinct rows of inputs in the test set. */
  readonly testRows: number;
  /** How many of them stand in the training set too. */
  readonly shared: number;
  /** shared / testRows; 0 for an empty test set. */
  readonly fraction: number;
}

type Rows = Pick<TaskData, "inputs" | "count" | "length">;

/** Counts the distinct test rows whose inputs also occur in the training set. @throws ShapeError if lengths differ */
export function findLeakage(train: Rows, test: Rows): Leakage {
  if (train.length !== test.length) {
    throw new ShapeError("leakage", "rows of train and test differ in length", {
      expected: `[N, ${train.length}]`,
      got: `[N, ${test.length}]`,
    });
  }
  const trained = new RowSet(train);
  const tested = new RowSet(test);
  const shared = tested.distinct.filter((row) => trained.has(test, row)).length;
  const testRows = tested.distinct.length;
  return { testRows, shared, fraction: testRows === 0 ? 0 : shared / testRows };
}

/**
 * Fails when more than `limit` of the distinct test rows stand in the training set (0.001, mad-lab's threshold, above
 * which it prints a warning and goes on).
 *
 * @throws DataError when the test set leaks
 */
export function checkLeakage(train: Rows, test: Rows, limit: number = 0.001): Leakage {
  const leakage = findLeakage(train, test);
  if (leakage.fraction <= limit) return leakage;
  throw new DataError("leakage", "test rows stand in the training set", {
    expected: `at most ${limit * 100} %`,
    got: `${leakage.shared} of ${leakage.testRows}`,
    hint: "Were both made from the start of the same stream? Make them with one generateSplits call.",
  });
}

/** Rows by hash, with the tokens compared when hashes meet. */
class RowSet {
  /** Index of the first occurrence of each distinct row. */
  readonly distinct: number[] = [];
  readonly #rows: Rows;
  readonly #buckets: Map<number, number[]> = new Map();

  constructor(rows: Rows) {
    this.#rows = rows;
    for (let row = 0; row < rows.count; row++) {
      if (this.has(rows, row)) continue;
      this.distinct.push(row);
      const key = hash(rows, row);
      const bucket = this.#buckets.get(key);
      if (bucket) bucket.push(row);
      else this.#buckets.set(key, [row]);
    }
  }

  has(rows: Rows, row: number): boolean {
    const bucket = this.#buckets.get(hash(rows, row));
    return bucket?.some((mine) => equal(this.#rows, mine, rows, row)) ?? false;
  }
}

// FNV-1a over whole tokens
function hash({ inputs, length }: Rows, row: number): number {
  let h = 0x811c9dc5;
  for (let i = row * length; i < (row + 1) * length; i++) h = Math.imul(h ^ inputs[i]!, 0x01000193);
  return h;
}

function equal(a: Rows, rowA: number, b: Rows, rowB: number): boolean {
  for (let i = 0; i < a.length; i++) {
    if (a.inputs[rowA * a.length + i] !== b.inputs[rowB * b.length + i]) return false;
  }
  return true;
}
