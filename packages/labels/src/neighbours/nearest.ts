import { availableParallelism } from "node:os";
import { ConfigError, checkOptions } from "@everlong/core";
import { ABSTAIN } from "../votes/votes.ts";
import type { Votes } from "../votes/votes.ts";
import type { SearchPlan } from "./block-search.ts";
import type { Groups } from "./inverted-file.ts";
import { invertedFile, probeGroups } from "./inverted-file.ts";
import type { NearestTask, NearestVotes, TaskNorms } from "./nearest-votes.ts";
import { checkTask, emptyNearest } from "./nearest-votes.ts";
import { searchInThreads } from "./search-threads.ts";

/** How the search goes. */
export interface SearchOptions {
  /** `approximate` looks only into the cells of an inverted file that lie nearest. Default `exact`. */
  readonly method?: "exact" | "approximate";
  /** Threads. Default: the cores of the machine; small problems take one. */
  readonly threads?: number;
  /** Cells of the inverted file. Default about twice the root of the number of supports. */
  readonly cells?: number;
  /** Cells each query looks into. Default 12. */
  readonly probes?: number;
  /** Items whose row in the result is wanted; the others stay empty. Default: those on which some function abstains. */
  readonly rows?: ArrayLike<number>;
}

/**
 * For every query, function and class the nearest training item with that vote: {@link import("./nearest-votes.ts").referenceNearest} at
 * scale. Blocks of queries meet blocks of supports in a float32 matrix product; distances of the winners are then measured in float64.
 *
 * @param task supports with their votes, queries, metric
 * @param votes the queries' own votes: items on which no function abstains need no neighbours
 */
export async function nearestVotes(
  task: NearestTask,
  votes: Votes,
  options: SearchOptions = {},
): Promise<NearestVotes> {
  checkOptions("neighbours", options, ["method", "threads", "cells", "probes", "rows"]);
  const norms = checkTask(task);
  const { method = "exact", threads = availableParallelism() } = options;
  if (method !== "exact" && method !== "approximate")
    throw new ConfigError("neighbours", `no method "${method as string}"`, {
      expected: '"exact" or "approximate"',
    });
  const out = emptyNearest(task);
  const list = options.rows ? Int32Array.from(options.rows) : abstainingRows(votes);
  const isolate = task.metric === "cosine" && task.zeroRows === "isolate";
  const usable = usableSupports(task.supportVotes, isolate ? norms.support : undefined);
  const wanted = isolate ? list.filter((q) => norms.queries[q] !== 0) : list;
  if (usable.length === 0 || wanted.length === 0) return out;

  const { support, queries, size } = prepare(task, norms);
  const { cellStarts, cells } = cellsOf(task.supportVotes, usable);
  const groups: Groups =
    method === "exact"
      ? { starts: Int32Array.of(0, usable.length), items: usable, every: 1, centers: undefined }
      : invertedFile({
          asQueries: task.metric === "cosine" ? support : asQueries(task, norms, queries),
          metric: task.metric,
          size,
          usable,
          cellStarts,
          cells,
          wanted: options.cells,
        });
  const probeCount =
    groups.centers === undefined
      ? 0
      : Math.min(options.probes ?? 12, groups.starts.length - 1 - groups.every);
  const work = wanted.length * usable.length * size;
  const crew = work < 5e8 ? 1 : Math.max(1, Math.floor(threads));
  const chunk = method === "exact" ? 1024 : 12_288;
  const plan: SearchPlan = {
    support,
    queries,
    size,
    list: sharedInts(wanted),
    cellStarts: sharedInts(cellStarts),
    cells: sharedInts(cells),
    width: out.functions * out.classes,
    groupStarts: sharedInts(groups.starts),
    groupItems: sharedInts(groups.items),
    everyGroup: groups.every,
    probes:
      probeCount === 0
        ? new Int32Array(0)
        : sharedInts(probeGroups(groups, { queries, size, list: wanted, probeCount })),
    probeCount,
    excludeSelf: task.excludeSelf,
    best: sharedFloats(out.score),
    index: sharedInts(out.index),
    next: sharedInts([0]),
    chunk: Math.max(96, Math.min(chunk, Math.ceil(wanted.length / crew))),
  };
  await searchInThreads(plan, crew, work);
  out.index.set(plan.index);
  if (task.metric === "cosine") out.score.set(plan.best);
  else measure(task, out, wanted);
  return out;
}

/** Items on which at least one function abstains. */
export function abstainingRows(votes: Votes): Int32Array {
  const { functions: m } = votes;
  const out: number[] = [];
  for (let i = 0; i < votes.items; i++)
    for (let j = 0; j < m; j++)
      if (votes.data[i * m + j] === ABSTAIN) {
        out.push(i);
        break;
      }
  return Int32Array.from(out);
}

// Rows such that the largest dot product is the nearest: unit rows for the cosine; for distances the mean is taken off and a column
// -|s|^2 / 2 is added, since |q - s|^2 = |q|^2 - 2 (q s - |s|^2 / 2).
function prepare(
  task: NearestTask,
  norms: TaskNorms,
): { support: Float32Array; queries: Float32Array; size: number } {
  const { support, queries, metric } = task;
  const d = support.size;
  const same = support === queries;
  if (metric === "cosine") {
    const unit = ({ data, items }: typeof support, lengths: Float64Array): Float32Array => {
      const out = new Float32Array(new SharedArrayBuffer(data.length * 4));
      for (let i = 0; i < items; i++) {
        const scale = 1 / (lengths[i]! || 1);
        for (let k = i * d; k < (i + 1) * d; k++) out[k] = data[k]! * scale;
      }
      return out;
    };
    const s = unit(support, norms.support);
    return { support: s, queries: same ? s : unit(queries, norms.queries), size: d };
  }
  const mean = new Float64Array(d);
  for (let i = 0; i < support.items; i++)
    for (let k = 0; k < d; k++) mean[k] = mean[k]! + support.data[i * d + k]! / support.items;
  const shift = (of: typeof support, last: (norm: number) => number): Float32Array => {
    const out = new Float32Array(new SharedArrayBuffer(of.items * (d + 1) * 4));
    for (let i = 0; i < of.items; i++) {
      let norm = 0;
      for (let k = 0; k < d; k++) {
        const x = Math.fround(of.data[i * d + k]! - mean[k]!);
        out[i * (d + 1) + k] = x;
        norm += x * x;
      }
      out[i * (d + 1) + d] = last(norm);
    }
    return out;
  };
  return {
    support: shift(support, (norm) => -norm / 2),
    queries: shift(queries, () => 1),
    size: d + 1,
  };
}

// Under the distance, supports end in -|s|^2 / 2 but must end in 1 to look for their own cell.
function asQueries(task: NearestTask, norms: TaskNorms, queries: Float32Array): Float32Array {
  if (task.support === task.queries) return queries;
  return prepare({ ...task, queries: task.support }, { ...norms, queries: norms.support }).queries;
}

// Supports on which some function votes; with `norms`, those that have a direction.
function usableSupports(votes: Votes, norms?: Float64Array): Int32Array {
  const m = votes.functions;
  const out: number[] = [];
  for (let s = 0; s < votes.items; s++) {
    if (norms && norms[s] === 0) continue;
    for (let j = 0; j < m; j++)
      if (votes.data[s * m + j] !== ABSTAIN) {
        out.push(s);
        break;
      }
  }
  return Int32Array.from(out);
}

function cellsOf(votes: Votes, usable: Int32Array): { cellStarts: Int32Array; cells: Int32Array } {
  const { functions: m, classes } = votes;
  const cellStarts = new Int32Array(votes.items + 1);
  const cells: number[] = [];
  let u = 0;
  for (let s = 0; s < votes.items; s++) {
    if (usable[u] === s) {
      u++;
      for (let j = 0; j < m; j++) {
        const vote = votes.data[s * m + j]!;
        if (vote !== ABSTAIN) cells.push(j * classes + vote);
      }
    }
    cellStarts[s + 1] = cells.length;
  }
  return { cellStarts, cells: Int32Array.from(cells) };
}

// The distance of every winner. The products rank neighbours well, but a small distance is a difference of large numbers in them.
function measure(task: NearestTask, out: NearestVotes, rows: Int32Array): void {
  const { data: a } = task.queries;
  const { data: b, size: d } = task.support;
  const width = out.functions * out.classes;
  for (const q of rows)
    for (let x = q * width; x < (q + 1) * width; x++) {
      const s = out.index[x]!;
      if (s < 0) continue;
      let sum = 0;
      for (let i = q * d, j = s * d; i < (q + 1) * d; i++, j++) {
        const gap = a[i]! - b[j]!;
        sum += gap * gap;
      }
      out.score[x] = -Math.sqrt(sum);
    }
}

function sharedInts(from: ArrayLike<number>): Int32Array {
  const out = new Int32Array(new SharedArrayBuffer(from.length * 4));
  out.set(from);
  return out;
}

function sharedFloats(from: ArrayLike<number>): Float32Array {
  const out = new Float32Array(new SharedArrayBuffer(from.length * 4));
  out.set(from);
  return out;
}
