import { countedRegimes, type RegimeMetrics } from "./regime-metrics.ts";
import { mean } from "./statistics.ts";

export type MaintenanceMethod = "mrlep" | "mrtlp";

/** Maintenance of one task. */
export interface Maintenance {
  /** Mean of all differences; NaN if there is none. */
  readonly value: number;
  /** Differences, grouped by the reference they share. */
  readonly differences: readonly (readonly number[])[];
}

/**
 * Performance maintenance of a task: how later evaluations differ from a reference.
 *
 * The reference evaluation is the first one after a training of the task. Every later evaluation that is not itself
 * a reference gives TP(evaluation) - TP(latest reference) (`mrlep`, most recent learning evaluation performance), or
 * TP(evaluation) - TP(latest training) (`mrtlp`, most recent terminal learning performance). Negative: forgetting.
 */
export function performanceMaintenance(
  metrics: readonly RegimeMetrics[],
  task: string,
  method: MaintenanceMethod,
): Maintenance {
  const counted = new Set(countedRegimes(metrics.map((m) => m.regime)));
  const own = metrics.filter(({ regime }) => regime.task === task);
  const training = own.filter((m) => counted.has(m.regime) && m.regime.blockType === "train");
  const tests = own.filter((m) => counted.has(m.regime) && m.regime.blockType === "test");
  const references = new Set(
    training.flatMap((train) => tests.find((test) => test.regime.index > train.regime.index) ?? []),
  );
  const latest = (of: Iterable<RegimeMetrics>, before: number): RegimeMetrics | undefined =>
    [...of].filter((m) => m.regime.index < before).at(-1);

  const groups: number[][] = [];
  let open = false;
  for (const m of own) {
    const at = m.regime.index;
    const reference = latest(references, at);
    if (!tests.includes(m) || references.has(m) || reference === undefined) {
      open = false;
      continue;
    }
    const against = method === "mrlep" ? reference : latest(training, at)!;
    if (!open) groups.push([]);
    open = true;
    groups.at(-1)!.push(m.terminal - against.terminal);
  }
  return { value: mean(groups.flat()), differences: groups };
}
