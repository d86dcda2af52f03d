import type { Lifetime } from "./lifetime.ts";
import { experienceMeans, type RegimeMetrics } from "./regime-metrics.ts";
import { theilSenSlope } from "./statistics.ts";

/**
 * Recovery times of a task: for each training regime after the first, the experiences until performance is again
 * at least the terminal performance of the one before; one more than the regime's length if it never is.
 */
export function recoveryTimes(lifetime: Lifetime, metrics: readonly RegimeMetrics[], task: string): number[] {
  const training = metrics.filter(
    ({ regime }) => regime.task === task && regime.blockType === "train" && regime.blockSubtype === "wake",
  );
  return training.slice(1).map(({ regime }, k) => {
    const target = training[k]!.terminal;
    const reached = experienceMeans(lifetime, [regime]).findIndex((value) => value >= target);
    return reached >= 0 ? reached : regime.end - regime.start + 1;
  });
}

/**
 * Performance recovery: minus the Theil-Sen slope of the recovery times, so that growing times count against the
 * agent. NaN with fewer than two recovery times.
 */
export function performanceRecovery(times: readonly number[]): number {
  return times.length < 2 ? Number.NaN : -theilSenSlope(times);
}
