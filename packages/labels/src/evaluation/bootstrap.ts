import { seededUniform } from "./synthetic-votes.ts";

/** An estimate with a percentile interval. */
export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/**
 * Paired bootstrap (Efron 1979): both systems are scored on the same resampled items, and the interval is of the difference.
 * @param statistic a score of system `a` minus that of `b` (or of one system) on the items listed
 * @param items N
 * @param options `level` of the interval (default 0.95), `rounds` (default 2000), `seed`
 */
export function bootstrap(
  statistic: (rows: Int32Array) => number,
  items: number,
  options: { level?: number; rounds?: number; seed?: number } = {},
): Interval {
  const { level = 0.95, rounds = 2000, seed = 1 } = options;
  const uniform = seededUniform(seed);
  const rows = Int32Array.from({ length: items }, (_, i) => i);
  const value = statistic(rows);
  const draws = new Float64Array(rounds);
  for (let r = 0; r < rounds; r++) {
    for (let i = 0; i < items; i++) rows[i] = Math.floor(uniform() * items);
    draws[r] = statistic(rows);
  }
  draws.sort();
  const at = (q: number): number => draws[Math.min(rounds - 1, Math.max(0, Math.round(q * (rounds - 1))))]!;
  return { value, low: at((1 - level) / 2), high: at((1 + level) / 2) };
}

/** The difference in F1 (of class 1) or accuracy of two systems' predictions on the same items, with its paired interval. */
export function pairedDifference(
  labels: ArrayLike<number>,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  measure: "f1" | "accuracy" = "f1",
  options: { level?: number; rounds?: number; seed?: number } = {},
): Interval {
  const one = measure === "f1" ? f1Of : accuracyOf;
  return bootstrap((rows) => one(labels, a, rows) - one(labels, b, rows), labels.length, options);
}

function f1Of(labels: ArrayLike<number>, predictions: ArrayLike<number>, rows: Int32Array): number {
  let [both, sum] = [0, 0];
  for (const i of rows) {
    const [y, p] = [labels[i] === 1 ? 1 : 0, predictions[i] === 1 ? 1 : 0];
    both += y & p;
    sum += y + p;
  }
  return sum === 0 ? 0 : (2 * both) / sum;
}

function accuracyOf(labels: ArrayLike<number>, predictions: ArrayLike<number>, rows: Int32Array): number {
  let right = 0;
  for (const i of rows) if (labels[i] === predictions[i]) right++;
  return right / rows.length;
}
