// Weighted choice, shared by numpy's `Generator` and its legacy `RandomState`.

import { ConfigError } from "@everlong/core";

/** Options of `choice`. */
export interface ChoiceOptions {
  /** Whether an index may come twice; default true. */
  readonly replace?: boolean;
  /** A probability for each index; default equal. */
  readonly p?: ArrayLike<number>;
  /** Without replacement: whether the order is random too; default true. */
  readonly shuffle?: boolean;
}

/** Running sums of `p`, scaled so that the last is 1. @throws ConfigError when `p` is no distribution over `n` */
export function cumulative(
  op: string,
  p: ArrayLike<number>,
  n: number,
  count: number,
  replace: boolean,
): Float64Array {
  const weights = Array.from(p);
  const total = weights.reduce((a, b) => a + b, 0);
  if (weights.length !== n || !weights.every((w) => w >= 0) || Math.abs(total - 1) > 1e-8) {
    throw new ConfigError(op, "p is not a distribution", {
      expected: `${n} weights >= 0 of sum 1`,
      got: `${weights.length} of sum ${total}`,
    });
  }
  if (!replace && weights.filter((w) => w > 0).length < count) {
    throw new ConfigError(op, "fewer positive weights than items wanted", { expected: `${count} or more` });
  }
  return runningSums(weights);
}

/** The first place whose running sum exceeds `x`. */
export function searchRight(cdf: Float64Array, x: number): number {
  let low = 0;
  let high = cdf.length;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (x < cdf[mid]) high = mid;
    else low = mid + 1;
  }
  return low;
}

/**
 * Distinct weighted indices: numpy draws as many as are missing, drops repeats within the batch, sets the weights of
 * the found ones to zero and goes on.
 */
export function weightedWithoutReplacement(
  p: ArrayLike<number>,
  count: number,
  random: () => number,
): Int32Array<ArrayBuffer> {
  const weights = Array.from(p);
  const found: number[] = [];
  while (found.length < count) {
    const draws = Array.from({ length: count - found.length }, random);
    for (const i of found) weights[i] = 0;
    const cdf = runningSums(weights);
    found.push(...new Set(draws.map((x) => searchRight(cdf, x))));
  }
  return Int32Array.from(found);
}

function runningSums(weights: readonly number[]): Float64Array {
  const cdf = new Float64Array(weights.length);
  let sum = 0;
  weights.forEach((w, i) => (cdf[i] = sum += w));
  return cdf.map((x) => x / sum);
}
