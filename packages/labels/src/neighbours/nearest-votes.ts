import { DataError, ShapeError } from "@everlong/core";
import type { Embeddings } from "../embeddings/embeddings.ts";
import { finiteNorms } from "../embeddings/embeddings.ts";
import type { Votes } from "../votes/votes.ts";

/** `cosine`: larger is nearer, radii are least similarities. `l2`: Euclidean distance, radii are greatest distances. */
export type Metric = "cosine" | "l2";

/**
 * For every item, function and class: how near the nearest training item is on which that function voted that class.
 * This is all that extending votes needs, for any radii.
 */
export interface NearestVotes {
  readonly metric: Metric;
  /** N. */
  readonly items: number;
  /** M. */
  readonly functions: number;
  /** K. */
  readonly classes: number;
  /** `[N, M, K]`: the cosine, or minus the distance; -Infinity where the function never voted that class. Larger is nearer. */
  readonly score: Float32Array;
  /** `[N, M, K]`: that training item, or -1. */
  readonly index: Int32Array;
}

/** What to do with rows of length 0 under the cosine, which have no direction: refuse them, give them no neighbours, or call every cosine 0. */
export type ZeroRows = "error" | "isolate" | "zero";

/** Supports and queries, checked: same width, finite, no unexpected zero rows. */
export interface NearestTask {
  readonly support: Embeddings;
  readonly supportVotes: Votes;
  readonly queries: Embeddings;
  readonly metric: Metric;
  readonly zeroRows: ZeroRows;
  /** Queries are the support itself: no item is its own neighbour. */
  readonly excludeSelf: boolean;
}

/** Euclidean lengths of the rows of a task. */
export interface TaskNorms {
  readonly support: Float64Array;
  readonly queries: Float64Array;
}

/** @throws ShapeError or DataError in the user's words. */
export function checkTask(task: NearestTask): TaskNorms {
  const { support, supportVotes, queries, metric, zeroRows } = task;
  if (support.items !== supportVotes.items)
    throw new ShapeError("epoxy", "training votes and embeddings differ in length", {
      expected: `${supportVotes.items} embeddings`,
      got: `${support.items}`,
    });
  if (support.size !== queries.size)
    throw new ShapeError("epoxy", "embeddings differ in width", {
      expected: `${support.size}, as in training`,
      got: `${queries.size}`,
    });
  const supportNorms = finiteNorms(support, "epoxy");
  const queryNorms = queries === support ? supportNorms : finiteNorms(queries, "epoxy");
  if (metric === "cosine" && zeroRows === "error")
    for (const norms of new Set([supportNorms, queryNorms])) {
      const zero = norms.indexOf(0);
      if (zero >= 0)
        throw new DataError("epoxy", `embedding ${zero} is all zeros and has no direction`, {
          expected: "a length above 0 for the cosine",
          hint: 'Embed the item, use metric "l2", or pass zeroRows: "isolate" to leave such items alone.',
        });
    }
  return { support: supportNorms, queries: queryNorms };
}

/** An empty result to fill. */
export function emptyNearest(task: NearestTask): NearestVotes {
  const { queries, supportVotes, metric } = task;
  const cells = queries.items * supportVotes.functions * supportVotes.classes;
  return {
    metric,
    items: queries.items,
    functions: supportVotes.functions,
    classes: supportVotes.classes,
    score: new Float32Array(cells).fill(-Infinity),
    index: new Int32Array(cells).fill(-1),
  };
}

/**
 * The definition, in plain float64 loops: every query against every training item that has a vote.
 * Sizes up to a few thousand; {@link import("./nearest.ts").nearestVotes} is the fast one.
 */
export function referenceNearest(task: NearestTask): NearestVotes {
  const { support: supportNorms, queries: queryNorms } = checkTask(task);
  const { support, supportVotes, queries, metric, zeroRows, excludeSelf } = task;
  const out = emptyNearest(task);
  const { functions: m, classes } = supportVotes;
  const d = support.size;
  for (let s = 0; s < support.items; s++) {
    const voted: number[] = [];
    for (let j = 0; j < m; j++)
      if (supportVotes.at(s, j) >= 0) voted.push(j * classes + supportVotes.at(s, j));
    if (voted.length === 0) continue;
    if (metric === "cosine" && zeroRows === "isolate" && supportNorms[s] === 0) continue;
    for (let q = 0; q < queries.items; q++) {
      if (excludeSelf && q === s) continue;
      if (metric === "cosine" && zeroRows === "isolate" && queryNorms[q] === 0) continue;
      let sum = 0;
      const a = q * d;
      const b = s * d;
      if (metric === "cosine") for (let k = 0; k < d; k++) sum += queries.data[a + k]! * support.data[b + k]!;
      else
        for (let k = 0; k < d; k++) {
          const gap = queries.data[a + k]! - support.data[b + k]!;
          sum += gap * gap;
        }
      const norms = queryNorms[q]! * supportNorms[s]!;
      const score = Math.fround(metric === "cosine" ? (norms === 0 ? 0 : sum / norms) : -Math.sqrt(sum));
      for (const cell of voted) {
        const at = q * m * classes + cell;
        if (score > out.score[at]!) {
          out.score[at] = score;
          out.index[at] = s;
        }
      }
    }
  }
  return out;
}
