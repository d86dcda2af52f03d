import type { Regime } from "../logs/table.ts";
import { countedRegimes, type RegimeMetrics } from "./regime-metrics.ts";

export type TransferMethod = "ratio" | "contrast";
export type TransferDirection = "forward" | "backward";

/** What training `from` did to the evaluation of `to`. */
export interface TransferValue {
  readonly from: string;
  readonly to: string;
  readonly direction: TransferDirection;
  /** Index of the evaluation regime after the training. */
  readonly at: number;
  readonly value: number;
}

/**
 * Transfer between all ordered pairs of tasks.
 *
 * A training of A between two consecutive evaluations p < q of B gives TP_q / TP_p (`ratio`) or
 * (TP_q - TP_p) / (TP_q + TP_p) (`contrast`); undefined for a zero denominator. It is forward transfer if B was not
 * trained before, else backward.
 *
 * @param overwrite the original keeps one value an evaluation, so the last pair in order of tasks overwrites the
 *   others where several tasks were trained between two evaluations; default false: every pair keeps its value
 */
export function transfers(
  metrics: readonly RegimeMetrics[],
  method: TransferMethod,
  direction: TransferDirection,
  overwrite = false,
): TransferValue[] {
  const terminal = new Map(metrics.map((m) => [m.regime, m.terminal]));
  const regimes = countedRegimes(metrics.map((m) => m.regime));
  const tasks = [...new Set(regimes.map((regime) => regime.task))];
  const trainingOf = (task: string): Regime[] =>
    regimes.filter((r) => r.task === task && r.blockType === "train");
  const testsOf = (task: string): Regime[] =>
    regimes.filter((r) => r.task === task && r.blockType === "test");

  const found: TransferValue[] = [];
  for (const from of tasks) {
    for (const to of tasks) {
      if (from === to) continue;
      const firstOwn = trainingOf(to)[0]?.index ?? Number.POSITIVE_INFINITY;
      const training = trainingOf(from).filter((r) =>
        direction === "forward" ? r.index < firstOwn : r.index > firstOwn,
      );
      const tests = testsOf(to);
      for (let k = 1; k < tests.length; k++) {
        const [p, q] = [tests[k - 1]!, tests[k]!];
        if (!training.some((r) => p.index < r.index && r.index < q.index)) continue;
        const value = compare(method, terminal.get(p)!, terminal.get(q)!);
        if (value !== null) found.push({ from, to, direction, at: q.index, value });
      }
    }
  }
  const kept = overwrite ? [...new Map(found.map((value) => [value.at, value])).values()] : found;
  return kept.sort((a, b) => a.at - b.at);
}

/** Values by `from`, then `to`, in order of evaluation. */
export function transferTable(
  values: readonly TransferValue[],
  tasks: readonly string[],
): Record<string, Record<string, number[]>> {
  const table: Record<string, Record<string, number[]>> = Object.fromEntries(tasks.map((task) => [task, {}]));
  for (const { from, to, value } of values) {
    const row = (table[from] ??= {});
    (row[to] ??= []).push(value);
  }
  return table;
}

function compare(method: TransferMethod, before: number, after: number): number | null {
  if (method === "ratio") return before === 0 ? null : after / before;
  return before + after === 0 ? null : (after - before) / (before + after);
}
