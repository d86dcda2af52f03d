import { ConfigError } from "@everlong/core";
import { RandomState } from "@everlong/data";
import type { Embeddings } from "../embeddings/embeddings.ts";
import { requireFinite } from "../embeddings/embeddings.ts";

/** Options of {@link kMeans}; the defaults are scikit-learn 1.2's. */
export interface KMeansOptions {
  /** Seed of numpy's legacy generator. Default 0. */
  readonly seed?: number;
  /** Restarts; the best inertia wins. Default 10. */
  readonly restarts?: number;
  readonly maxIterations?: number;
  /** Relative to the mean variance of the columns. Default 1e-4. */
  readonly tolerance?: number;
}

/** A partition of space into the cells of its centres. */
export interface KMeans {
  /** `[K, D]`. */
  readonly centers: Embeddings;
  /** The part of each training item, `[N]`. */
  readonly labels: Int32Array;
  /** Sum of squared distances to the own centre. */
  readonly inertia: number;
}

/**
 * k-means: greedy k-means++ seeding (Arthur and Vassilvitskii 2007, 2 + log K trials per centre), then Lloyd's iterations.
 * Draws from numpy's stream in scikit-learn's order, so that a partition published with a seed comes out with the same numbering.
 *
 * @param points `[N, D]`
 * @param parts K, at most N
 */
export function kMeans(points: Embeddings, parts: number, options: KMeansOptions = {}): KMeans {
  const { seed = 0, restarts = 10, maxIterations = 300, tolerance = 1e-4 } = options;
  if (!Number.isInteger(parts) || parts < 1 || parts > points.items)
    throw new ConfigError("k-means", "the number of parts does not fit the data", {
      expected: `1..${points.items}`,
      got: `${parts}`,
    });
  requireFinite(points, "k-means");
  const { mean, centered, variance } = center(points);
  const random = new RandomState(seed);
  const enough = tolerance * variance;
  let best: Run | undefined;
  for (let restart = 0; restart < restarts; restart++) {
    const run = lloyd(centered, seedCenters(centered, parts, random), parts, maxIterations, enough);
    if (!best || (run.inertia < best.inertia && !samePartition(run.labels, best.labels, parts))) best = run;
  }
  const { centers, labels, inertia } = best!;
  const d = points.size;
  const data = new Float32Array(parts * d);
  for (let c = 0; c < parts; c++)
    for (let k = 0; k < d; k++) data[c * d + k] = centers[c * d + k]! + mean[k]!;
  return { centers: { data, items: parts, size: d }, labels, inertia };
}

/** The nearest centre of every point, `[N]`; the first of equals. */
export function assignParts(points: Embeddings, centers: Embeddings): Int32Array {
  requireFinite(points, "k-means");
  const labels = new Int32Array(points.items);
  assign(points, Float64Array.from(centers.data), centers.items, labels);
  return labels;
}

interface Run {
  centers: Float64Array;
  labels: Int32Array;
  inertia: number;
}

function center(points: Embeddings): {
  mean: Float64Array;
  centered: Embeddings;
  variance: number;
} {
  const { items: n, size: d } = points;
  const mean = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let k = 0; k < d; k++) mean[k] = mean[k]! + points.data[i * d + k]! / n;
  const data = new Float32Array(points.data.length);
  let variance = 0;
  for (let i = 0; i < n; i++)
    for (let k = 0; k < d; k++) {
      data[i * d + k] = points.data[i * d + k]! - Math.fround(mean[k]!);
      variance += data[i * d + k]! ** 2;
    }
  const rounded = mean.map((x) => Math.fround(x));
  return { mean: rounded, centered: { data, items: n, size: d }, variance: variance / (n * d) };
}

function seedCenters(points: Embeddings, parts: number, random: RandomState): Float64Array {
  const { items: n, size: d } = points;
  const trials = 2 + Math.floor(Math.log(parts));
  const centers = new Float64Array(parts * d);
  const place = (c: number, i: number): void => centers.set(points.data.subarray(i * d, (i + 1) * d), c * d);
  const first = random.randint(0, n);
  place(0, first);
  let closest = squaredDistances(points, first);
  let potential = closest.reduce((a, b) => a + b, 0);
  for (let c = 1; c < parts; c++) {
    const draws = Array.from({ length: trials }, () => random.random() * potential);
    let best: { pot: number; distances: Float64Array; at: number } | undefined;
    for (const draw of draws) {
      const at = searchCumulative(closest, draw);
      const distances = squaredDistances(points, at);
      let pot = 0;
      for (let i = 0; i < n; i++) {
        if (closest[i]! < distances[i]!) distances[i] = closest[i]!;
        pot += distances[i]!;
      }
      if (!best || pot < best.pot) best = { pot, distances, at };
    }
    closest = best!.distances;
    potential = best!.pot;
    place(c, best!.at);
  }
  return centers;
}

// The first index whose cumulative sum reaches the draw.
function searchCumulative(weights: Float64Array, draw: number): number {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i]!;
    if (sum >= draw) return i;
  }
  return weights.length - 1;
}

function squaredDistances(points: Embeddings, to: number): Float64Array {
  const { items: n, size: d, data } = points;
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let k = 0; k < d; k++) {
      const gap = data[i * d + k]! - data[to * d + k]!;
      sum += gap * gap;
    }
    out[i] = Math.fround(sum);
  }
  return out;
}

function lloyd(
  points: Embeddings,
  start: Float64Array,
  parts: number,
  maxIterations: number,
  enough: number,
): Run {
  const { items: n, size: d, data } = points;
  let centers = start;
  const labels = new Int32Array(n).fill(-1);
  let old = Int32Array.from(labels);
  let settled = false;
  for (let iteration = 0; iteration < maxIterations; iteration++) {
    assign(points, centers, parts, labels);
    const next = new Float64Array(parts * d);
    const count = new Float64Array(parts);
    for (let i = 0; i < n; i++) {
      const c = labels[i]!;
      count[c] = count[c]! + 1;
      for (let k = 0; k < d; k++) next[c * d + k] = next[c * d + k]! + data[i * d + k]!;
    }
    refillEmpty(points, centers, labels, next, count);
    for (let c = 0; c < parts; c++)
      for (let k = 0; k < d; k++) next[c * d + k] = next[c * d + k]! / count[c]!;
    let shift = 0;
    for (let x = 0; x < next.length; x++) shift += (next[x]! - centers[x]!) ** 2;
    centers = next;
    if (labels.every((label, i) => label === old[i])) {
      settled = true;
      break;
    }
    if (shift <= enough) break;
    old = Int32Array.from(labels);
  }
  if (!settled) assign(points, centers, parts, labels);
  let inertia = 0;
  for (let i = 0; i < n; i++)
    for (let k = 0; k < d; k++) inertia += (data[i * d + k]! - centers[labels[i]! * d + k]!) ** 2;
  return { centers, labels, inertia };
}

function assign(points: Embeddings, centers: Float64Array, parts: number, labels: Int32Array): void {
  const { items: n, size: d, data } = points;
  for (let i = 0; i < n; i++) {
    let best = 0;
    let bestDistance = Infinity;
    for (let c = 0; c < parts; c++) {
      let sum = 0;
      for (let k = 0; k < d; k++) {
        const gap = data[i * d + k]! - centers[c * d + k]!;
        sum += gap * gap;
      }
      if (sum < bestDistance) [best, bestDistance] = [c, sum];
    }
    labels[i] = best;
  }
}

// A part that lost all its points takes over the point farthest from its own centre.
function refillEmpty(
  points: Embeddings,
  centers: Float64Array,
  labels: Int32Array,
  sums: Float64Array,
  count: Float64Array,
): void {
  const empty = [...count.keys()].filter((c) => count[c] === 0);
  if (empty.length === 0) return;
  const { size: d, data } = points;
  const distance = Array.from(labels, (label, i) => {
    let sum = 0;
    for (let k = 0; k < d; k++) sum += (data[i * d + k]! - centers[label * d + k]!) ** 2;
    return { i, sum };
  }).sort((a, b) => b.sum - a.sum);
  for (const [rank, part] of empty.entries()) {
    const { i } = distance[rank]!;
    const from = labels[i]!;
    for (let k = 0; k < d; k++) {
      sums[from * d + k] = sums[from * d + k]! - data[i * d + k]!;
      sums[part * d + k] = data[i * d + k]!;
    }
    count[from] = count[from]! - 1;
    count[part] = 1;
  }
}

function samePartition(a: Int32Array, b: Int32Array, parts: number): boolean {
  const map = new Int32Array(parts).fill(-1);
  for (let i = 0; i < a.length; i++) {
    if (map[a[i]!] === -1) map[a[i]!] = b[i]!;
    else if (map[a[i]!] !== b[i]) return false;
  }
  return true;
}
