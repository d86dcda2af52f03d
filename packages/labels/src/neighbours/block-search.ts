import { DotKernel } from "./dot-kernel.ts";

/** Everything a thread needs, in shared memory; the same object for all threads. */
export interface SearchPlan {
  /** Support rows `[S, D]` and query rows `[N, D]`, prepared so that the largest dot product is the nearest. */
  readonly support: Float32Array;
  readonly queries: Float32Array;
  /** D. */
  readonly size: number;
  /** Query rows to search for. */
  readonly list: Int32Array;
  /** The (function, class) cells of support s are `cells[cellStarts[s] .. cellStarts[s + 1]]`. */
  readonly cellStarts: Int32Array;
  readonly cells: Int32Array;
  /** M x K. */
  readonly width: number;
  /** Groups of supports: every query looks into groups `0 .. everyGroup`, and into the later ones that `probes` names for it. */
  readonly groupStarts: Int32Array;
  readonly groupItems: Int32Array;
  readonly everyGroup: number;
  /** `[list.length, probeCount]` group numbers, or empty. */
  readonly probes: Int32Array;
  readonly probeCount: number;
  /** Queries are the supports: skip equal rows. */
  readonly excludeSelf: boolean;
  /** `[N, width]` results: the best product so far and its support. */
  readonly best: Float32Array;
  readonly index: Int32Array;
  /** Next query chunk, an atomic counter. */
  readonly next: Int32Array;
  readonly chunk: number;
}

const SUPPORT_BLOCK = 192;
/** Queries at once: their packed rows stay in the second or third cache. */
const QUERY_BLOCK = 1024;

/** Works on query chunks until none is left. Every thread may run this at once: a chunk belongs to one thread. */
export function searchBlocks(plan: SearchPlan): void {
  const { list, chunk } = plan;
  const queries = Math.min(QUERY_BLOCK, chunk, list.length);
  const kernel = new DotKernel(plan.size, SUPPORT_BLOCK, queries, plan.width);
  for (;;) {
    const begin = Atomics.add(plan.next, 0, chunk);
    if (begin >= list.length) return;
    searchChunk(plan, kernel, begin, Math.min(list.length, begin + chunk));
  }
}

function searchChunk(plan: SearchPlan, kernel: DotKernel, begin: number, end: number): void {
  const { groupStarts, groupItems, probes, probeCount } = plan;
  const group = (g: number): Int32Array => groupItems.subarray(groupStarts[g], groupStarts[g + 1]);
  const all = plan.list.subarray(begin, end);
  for (let g = 0; g < plan.everyGroup; g++) searchGroup(plan, kernel, all, group(g));
  if (probeCount === 0) return;
  const wanting: number[][] = Array.from({ length: groupStarts.length - 1 }, () => []);
  for (let q = begin; q < end; q++)
    for (let p = 0; p < probeCount; p++) wanting[probes[q * probeCount + p]!]!.push(plan.list[q]!);
  for (let g = plan.everyGroup; g < wanting.length; g++)
    if (wanting[g]!.length > 0) searchGroup(plan, kernel, Int32Array.from(wanting[g]!), group(g));
}

// All of `rows` against all of `items`.
function searchGroup(plan: SearchPlan, kernel: DotKernel, rows: Int32Array, items: Int32Array): void {
  for (let from = 0; from < rows.length; from += kernel.queries) {
    const queries = rows.subarray(from, from + kernel.queries);
    kernel.packQueries(plan.queries, queries);
    load(plan, kernel, queries);
    for (let at = 0; at < items.length; at += SUPPORT_BLOCK) {
      const block = items.subarray(at, at + SUPPORT_BLOCK);
      kernel.packSupports(plan.support, block);
      kernel.multiply(block.length, queries.length);
      if (plan.excludeSelf) hideSelves(kernel, block, queries);
      for (let s = 0; s < block.length; s++) {
        const id = block[s]!;
        for (let e = plan.cellStarts[id]!; e < plan.cellStarts[id + 1]!; e++)
          kernel.compete(s, id, plan.cells[e]!, queries.length);
      }
    }
    store(plan, kernel, queries);
  }
}

function load(plan: SearchPlan, kernel: DotKernel, queries: Int32Array): void {
  const { width, best, index } = plan;
  for (let q = 0; q < queries.length; q++)
    for (let x = 0; x < width; x++) {
      kernel.best[x * kernel.queries + q] = best[queries[q]! * width + x]!;
      kernel.index[x * kernel.queries + q] = index[queries[q]! * width + x]!;
    }
}

function store(plan: SearchPlan, kernel: DotKernel, queries: Int32Array): void {
  const { width, best, index } = plan;
  for (let q = 0; q < queries.length; q++)
    for (let x = 0; x < width; x++) {
      best[queries[q]! * width + x] = kernel.best[x * kernel.queries + q]!;
      index[queries[q]! * width + x] = kernel.index[x * kernel.queries + q]!;
    }
}

// Both lists ascend: one walk finds the rows that stand in both.
function hideSelves(kernel: DotKernel, block: Int32Array, queries: Int32Array): void {
  for (let s = 0, q = 0; s < block.length && q < queries.length;) {
    if (block[s] === queries[q]) kernel.product[s * kernel.queries + q] = -Infinity;
    if (block[s]! <= queries[q]!) s++;
    else q++;
  }
}
