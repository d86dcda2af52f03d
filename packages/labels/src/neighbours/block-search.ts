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

/** Works on query chunks until none is left. Every thread may run this at once: a chunk belongs to one thread. */
export function searchBlocks(plan: SearchPlan): void {
  const { list, chunk } = plan;
  const kernel = new DotKernel(plan.size, Math.min(chunk, list.length), SUPPORT_BLOCK);
  for (;;) {
    const begin = Atomics.add(plan.next, 0, chunk);
    if (begin >= list.length) return;
    searchChunk(plan, kernel, begin, Math.min(list.length, begin + chunk));
  }
}

function searchChunk(plan: SearchPlan, kernel: DotKernel, begin: number, end: number): void {
  const { groupStarts, groupItems, probes, probeCount } = plan;
  const all = plan.list.subarray(begin, end);
  kernel.packQueries(plan.queries, all);
  for (let g = 0; g < plan.everyGroup; g++)
    searchGroup(plan, kernel, all, groupItems.subarray(groupStarts[g], groupStarts[g + 1]));
  if (probeCount === 0) return;
  const wanting: number[][] = Array.from({ length: groupStarts.length - 1 }, () => []);
  for (let q = begin; q < end; q++)
    for (let p = 0; p < probeCount; p++) wanting[probes[q * probeCount + p]!]!.push(plan.list[q]!);
  for (let g = plan.everyGroup; g < wanting.length; g++) {
    const rows = wanting[g]!;
    if (rows.length === 0) continue;
    kernel.packQueries(plan.queries, rows);
    searchGroup(plan, kernel, rows, groupItems.subarray(groupStarts[g], groupStarts[g + 1]));
  }
}

function searchGroup(plan: SearchPlan, kernel: DotKernel, rows: ArrayLike<number>, items: Int32Array): void {
  for (let from = 0; from < items.length; from += SUPPORT_BLOCK) {
    const block = items.subarray(from, from + SUPPORT_BLOCK);
    kernel.packSupports(plan.support, block);
    kernel.multiply(rows.length, block.length);
    reduce(plan, kernel, rows, block);
  }
}

// The hot scalar loop: a few comparisons for each product.
function reduce(plan: SearchPlan, kernel: DotKernel, rows: ArrayLike<number>, block: Int32Array): void {
  const { cells, cellStarts, width, best, index, excludeSelf } = plan;
  const { product, columns } = kernel;
  const starts = new Int32Array(block.length + 1);
  for (let c = 0; c < block.length; c++) {
    const s = block[c]!;
    starts[c + 1] = starts[c]! + cellStarts[s + 1]! - cellStarts[s]!;
  }
  const flat = new Int32Array(starts[block.length]!);
  for (let c = 0; c < block.length; c++)
    flat.set(cells.subarray(cellStarts[block[c]!], cellStarts[block[c]! + 1]), starts[c]);
  const row = new Float32Array(width);
  for (let r = 0; r < rows.length; r++) {
    const q = rows[r]!;
    const base = q * width;
    for (let x = 0; x < width; x++) row[x] = best[base + x]!;
    for (let c = 0; c < block.length; c++) {
      const value = product[r * columns + c]!;
      for (let e = starts[c]!; e < starts[c + 1]!; e++) {
        const cell = flat[e]!;
        if (value > row[cell]!) {
          if (excludeSelf && block[c] === q) continue;
          row[cell] = value;
          index[base + cell] = block[c]!;
        }
      }
    }
    for (let x = 0; x < width; x++) best[base + x] = row[x]!;
  }
}
