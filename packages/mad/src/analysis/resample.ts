// Intervals by resampling, with a seed.

import { NumericError } from "@everlong/core";
import { Pcg64 } from "@everlong/data";

/** An estimate with a percentile interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface ResampleOptions {
  /** Number of resamples. Default 500. */
  readonly resamples?: number;
  /** Probability that the interval is to cover. Default 0.9. */
  readonly level?: number;
  /** Default 0. */
  readonly seed?: number;
}

/** The value below which a share `q` of sorted values lies, linearly between neighbours. */
export function quantile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1);
  const [low, high] = [Math.floor(at), Math.ceil(at)];
  return sorted[low]! + (at - low) * (sorted[high]! - sorted[low]!);
}

/**
 * Percentile bootstrap of several figures at once (Efron 1979): rows are drawn with replacement. Resamples for which `figures` gives undefined are left out.
 *
 * @throws NumericError when fewer than half of the resamples give figures
 */
export function bootstrap<K extends string>(
  count: number,
  point: Readonly<Record<K, number>>,
  figures: (rows: readonly number[]) => Readonly<Record<K, number>> | undefined,
  options: ResampleOptions = {},
): Record<K, Estimate> {
  const { resamples = 500, level = 0.9, seed = 0 } = options;
  const bits = new Pcg64(seed);
  const names = Object.keys(point) as K[];
  const found: Record<string, number[]> = Object.fromEntries(names.map((n) => [n, []]));
  for (let b = 0; b < resamples; b++) {
    const rows = Array.from({ length: count }, () => Math.floor(bits.double() * count));
    const figure = figures(rows);
    if (!figure) continue;
    for (const name of names) if (Number.isFinite(figure[name])) found[name]!.push(figure[name]);
  }
  return Object.fromEntries(
    names.map((name) => {
      const sorted = found[name]!.toSorted((a, b) => a - b);
      if (sorted.length < resamples / 2) {
        throw new NumericError("bootstrap", `${name} is undefined in most resamples`, {
          got: `${sorted.length} of ${resamples}`,
          hint: "The table has too few rows for an interval.",
        });
      }
      const tail = (1 - level) / 2;
      return [
        name,
        { value: point[name], low: quantile(sorted, tail), high: quantile(sorted, 1 - tail) },
      ] as const;
    }),
  ) as Record<K, Estimate>;
}
