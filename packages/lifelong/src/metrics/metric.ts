import type { Lifetime } from "./lifetime.ts";
import type { RegimeMetrics } from "./regime-metrics.ts";

/** Values of a custom metric. What is left out is filled from below: task = mean of its regimes, lifetime = aggregate of tasks. */
export interface MetricResult {
  /** By regime index. */
  readonly regimes?: ReadonlyMap<number, number>;
  readonly tasks?: Readonly<Record<string, number>>;
  readonly lifetime?: number;
}

/**
 * A metric of one's own, given to `computeMetrics`.
 *
 * @example
 * const best: Metric = {
 *   key: "best", title: "Best experience", about: "Largest performance in a regime.",
 *   calculate: ({ lifetime }) => ({
 *     regimes: new Map(lifetime.regimes.map((r) => [r.index, Math.max(...lifetime.perf.subarray(r.start, r.end))])),
 *   }),
 * };
 */
export interface Metric {
  /** Key in results; must not be a built-in one. */
  readonly key: string;
  readonly title: string;
  readonly about: string;
  calculate(input: { readonly lifetime: Lifetime; readonly regimes: readonly RegimeMetrics[] }): MetricResult;
}
