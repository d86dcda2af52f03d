import { seededUniform } from "../evaluation/synthetic-votes.ts";
import { DotKernel } from "./dot-kernel.ts";
import type { Metric } from "./nearest-votes.ts";

/** Supports in groups: the first `every` are searched by all queries, the others only by queries near their centre. */
export interface Groups {
  readonly starts: Int32Array;
  readonly items: Int32Array;
  readonly every: number;
  /** `[groups - every, D]`, or undefined when all groups are for everybody. */
  readonly centers: Float32Array | undefined;
}

const ROUNDS = 5;
const SAMPLE_PER_CELL = 40;
const BLOCK = 1536;

/**
 * An inverted file (Sivic and Zisserman 2003; Jegou et al. 2011): supports grouped by their nearest of `wanted` centres, found by k-means on a
 * sample. Functions with few votes would be missed by it, so the supports of rare (function, class) pairs form a group that every query searches.
 */
export function invertedFile(task: {
  /** Supports in the form of queries, `[S, D]`: their dot product with a centre is largest for the nearest centre. */
  asQueries: Float32Array;
  metric: Metric;
  size: number;
  usable: Int32Array;
  cellStarts: Int32Array;
  cells: Int32Array;
  wanted: number | undefined;
}): Groups {
  const { asQueries, metric, size, usable, cellStarts, cells } = task;
  const count = Math.max(1, Math.min(usable.length, task.wanted ?? Math.round(2 * Math.sqrt(usable.length))));
  const rare = rareSupports(usable, cellStarts, cells);
  if (rare.length + count >= usable.length)
    return { starts: Int32Array.of(0, usable.length), items: usable, every: 1, centers: undefined };
  const centers = trainCenters(asQueries, metric, size, usable, count);
  const owner = nearestCenters(asQueries, size, usable, centers, count);
  const sizes = new Int32Array(count);
  for (const c of owner) sizes[c] = sizes[c]! + 1;
  const starts = new Int32Array(count + 2);
  starts[1] = rare.length;
  for (let c = 0; c < count; c++) starts[c + 2] = starts[c + 1]! + sizes[c]!;
  const items = new Int32Array(rare.length + usable.length);
  items.set(rare);
  const fill = starts.slice(1, count + 1);
  for (let u = 0; u < usable.length; u++) {
    const c = owner[u]!;
    items[fill[c]!] = usable[u]!;
    fill[c] = fill[c]! + 1;
  }
  return { starts, items, every: 1, centers };
}

/** The `probeCount` groups whose centres have the largest dot product with each query, `[list.length, probeCount]`. */
export function probeGroups(
  groups: Groups,
  task: { queries: Float32Array; size: number; list: Int32Array; probeCount: number },
): Int32Array {
  const { queries, size, list, probeCount } = task;
  const count = groups.starts.length - 1 - groups.every;
  const kernel = new DotKernel(size, count, Math.min(BLOCK, list.length));
  kernel.packSupports(
    groups.centers!,
    Int32Array.from({ length: count }, (_, c) => c),
  );
  const out = new Int32Array(list.length * probeCount);
  const values = new Float32Array(probeCount);
  const chosen = new Int32Array(probeCount);
  for (let from = 0; from < list.length; from += BLOCK) {
    const rows = list.subarray(from, from + BLOCK);
    kernel.packQueries(queries, rows);
    kernel.multiply(count, rows.length);
    for (let r = 0; r < rows.length; r++) {
      values.fill(-Infinity);
      for (let c = 0; c < count; c++) {
        const value = kernel.product[c * kernel.queries + r]!;
        let p = probeCount - 1;
        if (value <= values[p]!) continue;
        for (; p > 0 && values[p - 1]! < value; p--) {
          values[p] = values[p - 1]!;
          chosen[p] = chosen[p - 1]!;
        }
        values[p] = value;
        chosen[p] = c;
      }
      for (let p = 0; p < probeCount; p++) out[(from + r) * probeCount + p] = chosen[p]! + groups.every;
    }
  }
  return out;
}

function rareSupports(usable: Int32Array, cellStarts: Int32Array, cells: Int32Array): Int32Array {
  const counts = new Map<number, number>();
  for (const s of usable)
    for (let e = cellStarts[s]!; e < cellStarts[s + 1]!; e++)
      counts.set(cells[e]!, (counts.get(cells[e]!) ?? 0) + 1);
  const few = Math.max(64, usable.length / 100);
  return usable.filter((s) => {
    for (let e = cellStarts[s]!; e < cellStarts[s + 1]!; e++) if (counts.get(cells[e]!)! <= few) return true;
    return false;
  });
}

function trainCenters(
  data: Float32Array,
  metric: Metric,
  size: number,
  usable: Int32Array,
  count: number,
): Float32Array {
  const uniform = seededUniform(17);
  const order = Int32Array.from(usable);
  const sampleSize = Math.min(usable.length, count * SAMPLE_PER_CELL);
  for (let i = 0; i < sampleSize; i++) {
    const j = i + Math.floor(uniform() * (order.length - i));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  const sample = order.subarray(0, sampleSize);
  const centers = new Float32Array(count * size);
  for (let c = 0; c < count; c++) {
    centers.set(data.subarray(sample[c]! * size, (sample[c]! + 1) * size), c * size);
    finish(centers.subarray(c * size, (c + 1) * size), metric);
  }
  for (let round = 0; round < ROUNDS; round++) {
    const owner = nearestCenters(data, size, sample, centers, count);
    const sums = new Float64Array(count * size);
    const members = new Int32Array(count);
    for (let i = 0; i < sample.length; i++) {
      const c = owner[i]!;
      members[c] = members[c]! + 1;
      const from = sample[i]! * size;
      for (let k = 0; k < size; k++) sums[c * size + k] = sums[c * size + k]! + data[from + k]!;
    }
    for (let c = 0; c < count; c++) {
      if (members[c] === 0) continue; // an empty cell keeps its centre
      for (let k = 0; k < size; k++) centers[c * size + k] = sums[c * size + k]! / members[c]!;
      finish(centers.subarray(c * size, (c + 1) * size), metric);
    }
  }
  return centers;
}

// Cosine: centres of length 1, so that large cells do not swallow everything. Distance: the last column makes the largest dot product the nearest.
function finish(row: Float32Array, metric: Metric): void {
  const d = metric === "cosine" ? row.length : row.length - 1;
  let norm = 0;
  for (let k = 0; k < d; k++) norm += row[k]! * row[k]!;
  if (metric === "l2") {
    row[d] = -norm / 2;
    return;
  }
  const length = Math.sqrt(norm) || 1;
  for (let k = 0; k < d; k++) row[k] = row[k]! / length;
}

function nearestCenters(
  data: Float32Array,
  size: number,
  list: Int32Array,
  centers: Float32Array,
  count: number,
): Int32Array {
  const kernel = new DotKernel(size, count, Math.min(BLOCK, list.length));
  kernel.packSupports(
    centers,
    Int32Array.from({ length: count }, (_, c) => c),
  );
  const out = new Int32Array(list.length);
  for (let from = 0; from < list.length; from += BLOCK) {
    const rows = list.subarray(from, from + BLOCK);
    kernel.packQueries(data, rows);
    kernel.multiply(count, rows.length);
    for (let r = 0; r < rows.length; r++) {
      let best = 0;
      let bestValue = -Infinity;
      for (let c = 0; c < count; c++) {
        const value = kernel.product[c * kernel.queries + r]!;
        if (value > bestValue) [best, bestValue] = [c, value];
      }
      out[from + r] = best;
    }
  }
  return out;
}
