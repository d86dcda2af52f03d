import { DataError } from "@everlong/core";
import type { Scores } from "../evaluation/metrics.ts";
import { score } from "../evaluation/metrics.ts";

/** A named part of the data that matters on its own. */
export interface SlicingFunction<Row> {
  readonly name: string;
  readonly member: (row: Row) => boolean;
}

/** Which items belong to which slice: sorted row lists by name. */
export type Slices = ReadonlyMap<string, Int32Array>;

/** Finds every slice's items. @throws DataError naming the slice and the row when a function throws. */
export function sliceRows<Row>(functions: readonly SlicingFunction<Row>[], rows: readonly Row[]): Slices {
  const out = new Map<string, Int32Array>();
  for (const { name, member } of functions) {
    const inside: number[] = [];
    for (const [i, row] of rows.entries()) {
      try {
        if (member(row)) inside.push(i);
      } catch (problem) {
        throw new DataError("slices", `slice "${name}" threw on row ${i}`, {
          cause: problem,
          got: problem instanceof Error ? problem.message : String(problem),
        });
      }
    }
    out.set(name, Int32Array.from(inside));
  }
  return out;
}

/** Scores on all items and on every slice (with its size). */
export function scoreSlices(
  slices: Slices,
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
  options: { classes?: number; positive?: number | null } = {},
): Map<string, Scores & { readonly items: number }> {
  const out = new Map([["all", { ...score(labels, predictions, options), items: labels.length }]]);
  for (const [name, rows] of slices) {
    const pick = (of: ArrayLike<number>): number[] => Array.from(rows, (i) => of[i]!);
    out.set(name, { ...score(pick(labels), pick(predictions), options), items: rows.length });
  }
  return out;
}

/** Items grouped by (label, prediction): the buckets to read when looking for errors. Key `"label>prediction"`. */
export function errorBuckets(
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
): Map<string, number[]> {
  const out = new Map<string, number[]>();
  for (let i = 0; i < labels.length; i++) {
    const key = `${labels[i]}>${predictions[i]}`;
    const list = out.get(key) ?? [];
    list.push(i);
    out.set(key, list);
  }
  return out;
}
