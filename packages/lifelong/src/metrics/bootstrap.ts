import { ConfigError } from "@everlong/core";
import { uniformStream } from "./noise.ts";
import { mean, quantile } from "./statistics.ts";

/** A value with a confidence interval. */
export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  /** Number of values it rests on. */
  readonly count: number;
}

export interface BootstrapOptions {
  /** Default 4000, as in Continual World. */
  readonly samples?: number;
  /** Default 0.9. */
  readonly confidence?: number;
  /** Default 0: an interval is a function of the data. */
  readonly seed?: number;
  /** Default the mean. */
  readonly statistic?: (values: ArrayLike<number>) => number;
}

/**
 * Percentile bootstrap interval (Efron 1979) of a statistic over independent values, one a lifetime. NaN values are
 * left out; fewer than two values give an interval of NaN.
 */
export function bootstrap(values: ArrayLike<number>, options: BootstrapOptions = {}): Interval {
  const { samples = 4000, confidence = 0.9, seed = 0, statistic = mean } = options;
  checkLevel(samples, confidence);
  const kept = Float64Array.from(values).filter((v) => !Number.isNaN(v));
  const n = kept.length;
  const value = n > 0 ? statistic(kept) : Number.NaN;
  if (n < 2) return { value, low: Number.NaN, high: Number.NaN, count: n };
  const uniform = uniformStream(seed);
  const drawn = new Float64Array(n);
  const statistics = Float64Array.from({ length: samples }, () => {
    for (let i = 0; i < n; i++) drawn[i] = kept[Math.floor(uniform() * n)]!;
    return statistic(drawn);
  });
  return { value, ...percentiles(statistics, confidence), count: n };
}

/** Bootstrap of a function of two independent samples, rows drawn from each apart (runs and baseline runs). */
export function bootstrapPair<X, Y>(
  x: readonly X[],
  y: readonly Y[],
  statistic: (x: readonly X[], y: readonly Y[]) => number,
  options: Omit<BootstrapOptions, "statistic"> = {},
): Interval {
  const { samples = 4000, confidence = 0.9, seed = 0 } = options;
  checkLevel(samples, confidence);
  const uniform = uniformStream(seed);
  const draw = <T>(rows: readonly T[]): T[] => rows.map(() => rows[Math.floor(uniform() * rows.length)]!);
  const statistics = Float64Array.from({ length: samples }, () => statistic(draw(x), draw(y)));
  return { value: statistic(x, y), ...percentiles(statistics, confidence), count: x.length };
}

/** Whether two intervals have no point in common: the higher one's low end is above the other's high end. */
export function separated(a: Interval, b: Interval): boolean {
  return a.low > b.high || b.low > a.high;
}

function percentiles(statistics: Float64Array, confidence: number): { low: number; high: number } {
  const tail = (1 - confidence) / 2;
  return { low: quantile(statistics, tail), high: quantile(statistics, 1 - tail) };
}

function checkLevel(samples: number, confidence: number): void {
  if (!(Number.isInteger(samples) && samples > 0 && confidence > 0 && confidence < 1)) {
    throw new ConfigError("bootstrap", "samples or confidence is out of range", {
      expected: "a positive number of samples and a confidence between 0 and 1",
      got: `${samples}, ${confidence}`,
    });
  }
}
