import { ABSTAIN } from "../votes/votes.ts";
import { closedRadius, extendVotes } from "./extend.ts";
import type { PreparedVotes } from "./epoxy.ts";

/** What one function's extension does at one radius, on labelled items. */
export interface RadiusPoint {
  readonly radius: number;
  /** Share of all items that the function votes on after the extension. */
  readonly coverage: number;
  /** New votes, and the share of them that is right (null without any). */
  readonly extended: number;
  readonly accuracy: number | null;
}

/** Coverage against accuracy of the extended votes of function `j`, for radii from near to far. */
export function radiusCurve(
  prepared: PreparedVotes,
  labels: ArrayLike<number>,
  j: number,
  radii: readonly number[],
): RadiusPoint[] {
  const { votes, nearest } = prepared;
  return radii.map((radius) => {
    const list = new Float64Array(votes.functions).fill(closedRadius(nearest.metric));
    list[j] = radius;
    const after = extendVotes(votes, nearest, list);
    let [covered, extended, right] = [0, 0, 0];
    for (let i = 0; i < votes.items; i++) {
      if (after.at(i, j) === ABSTAIN) continue;
      covered++;
      if (votes.at(i, j) !== ABSTAIN) continue;
      extended++;
      if (after.at(i, j) === labels[i]) right++;
    }
    return {
      radius,
      coverage: covered / votes.items,
      extended,
      accuracy: extended === 0 ? null : right / extended,
    };
  });
}

/** How often something changes between an item and its nearest neighbour at a given distance. */
export interface SmoothnessBin {
  /** Mean distance of the pairs: 1 - cosine, or the Euclidean distance. */
  readonly distance: number;
  readonly pairs: number;
  /** Share of pairs whose labels differ. */
  readonly labelChange: number;
}

/**
 * An estimate of the label's Lipschitz behaviour (the constant in Epoxy's and Liger's theory): how P(labels differ) grows with the distance of
 * labelled pairs, in bins of equally many pairs. `slope` is the largest ratio of change to distance over the bins.
 */
export function labelSmoothness(
  embeddings: { data: Float32Array; items: number; size: number },
  labels: ArrayLike<number>,
  metric: "cosine" | "l2" = "cosine",
  bins = 10,
): { bins: SmoothnessBin[]; slope: number } {
  const pairs: { distance: number; change: number }[] = [];
  const { data, items: n, size: d } = embeddings;
  const norms = Float64Array.from({ length: n }, (_, i) => {
    let sum = 0;
    for (let k = i * d; k < (i + 1) * d; k++) sum += data[k]! ** 2;
    return Math.sqrt(sum);
  });
  for (let a = 0; a < n; a++)
    for (let b = a + 1; b < n; b++) {
      let dot = 0;
      let gap = 0;
      for (let k = 0; k < d; k++) {
        const [x, y] = [data[a * d + k]!, data[b * d + k]!];
        dot += x * y;
        gap += (x - y) ** 2;
      }
      const norm = norms[a]! * norms[b]!;
      pairs.push({
        distance: metric === "cosine" ? 1 - (norm === 0 ? 0 : dot / norm) : Math.sqrt(gap),
        change: labels[a] === labels[b] ? 0 : 1,
      });
    }
  pairs.sort((a, b) => a.distance - b.distance);
  const out: SmoothnessBin[] = [];
  const size = Math.ceil(pairs.length / bins);
  for (let from = 0; from < pairs.length; from += size) {
    const part = pairs.slice(from, from + size);
    out.push({
      distance: part.reduce((s, p) => s + p.distance, 0) / part.length,
      pairs: part.length,
      labelChange: part.reduce((s, p) => s + p.change, 0) / part.length,
    });
  }
  return {
    bins: out,
    slope: Math.max(0, ...out.filter((b) => b.distance > 1e-9).map((b) => b.labelChange / b.distance)),
  };
}
