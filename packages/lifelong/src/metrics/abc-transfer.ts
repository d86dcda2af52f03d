import type { Lifetime } from "./lifetime.ts";
import { mean, trapezoid } from "./statistics.ts";

/** One lifetime's first two trainings. */
interface FirstTwo {
  readonly runId: string;
  readonly from: string;
  readonly to: string;
  readonly fromCurve: Float64Array;
  readonly toCurve: Float64Array;
}

/** Area between curves for one lifetime. */
export interface AbcTransfer {
  readonly runId: string;
  /** Task trained first. */
  readonly from: string;
  /** Task trained second. */
  readonly to: string;
  /** Area between the second task's curve and its baseline over [0, 1]; null if it was never trained first. */
  readonly area: number | null;
  /** `[D, D]`: area of part j of the curve minus area of part i of the baseline. */
  readonly divisions: readonly (readonly number[])[];
}

/** ABC transfer averaged over the lifetimes of a task pair. */
export interface AbcPair {
  readonly from: string;
  readonly to: string;
  readonly count: number;
  readonly area: number;
  readonly divisions: readonly (readonly number[])[];
}

/**
 * Area-between-curves transfer of a set of lifetimes (l2metrics, supplemental): the integral over [0, 1] of
 * P(T2 | T1) - B(T2), where the baseline B is the mean curve of the lifetimes that train T2 first. Only the first
 * two training blocks of each lifetime count; curves are cut to the shorter one.
 *
 * @param parts number D of equal parts for the division matrix; default 4
 */
export function abcTransfer(lifetimes: readonly Lifetime[], parts = 4): AbcTransfer[] {
  const samples = lifetimes.map(firstTwo).filter((s) => s !== null);
  const baselines = new Map<string, Float64Array>();
  for (const task of new Set(samples.map((s) => s.from))) {
    const curves = samples.filter((s) => s.from === task).map((s) => s.fromCurve);
    const length = Math.min(...curves.map((curve) => curve.length));
    baselines.set(
      task,
      Float64Array.from({ length }, (_, i) => mean(curves.map((curve) => curve[i]!))),
    );
  }
  return samples.map(({ runId, from, to, toCurve }) => {
    const baseline = baselines.get(to);
    if (baseline === undefined) return { runId, from, to, area: null, divisions: [] };
    const n = Math.min(baseline.length, toCurve.length);
    const difference = Float64Array.from({ length: n }, (_, i) => toCurve[i]! - baseline[i]!);
    const b = partAreas(baseline.subarray(0, n), parts);
    const c = partAreas(toCurve.subarray(0, n), parts);
    return {
      runId,
      from,
      to,
      area: trapezoid(difference, 1 / n),
      divisions: b.map((base) => c.map((area) => area - base)),
    };
  });
}

/** Mean over lifetimes of each task pair that has an area. */
export function abcPairs(values: readonly AbcTransfer[]): AbcPair[] {
  const groups = new Map<string, AbcTransfer[]>();
  for (const value of values) {
    if (value.area === null) continue;
    const key = JSON.stringify([value.from, value.to]);
    groups.set(key, [...(groups.get(key) ?? []), value]);
  }
  return [...groups.values()].map((group) => ({
    from: group[0]!.from,
    to: group[0]!.to,
    count: group.length,
    area: mean(group.map((value) => value.area!)),
    divisions: group[0]!.divisions.map((row, i) =>
      row.map((_, j) => mean(group.map((v) => v.divisions[i]![j]!))),
    ),
  }));
}

function firstTwo(lifetime: Lifetime): FirstTwo | null {
  const blocks = [...new Set(lifetime.regimes.filter((r) => r.blockType === "train").map((r) => r.blockNum))];
  if (blocks.length < 2) return null;
  const [first, second] = blocks.slice(0, 2).map((block) => {
    const regimes = lifetime.regimes.filter((r) => r.blockNum === block);
    const curve = regimes.flatMap((r) => [...lifetime.perf.subarray(r.start, r.end)]);
    return { task: regimes[0]!.task, curve: Float64Array.from(curve) };
  }) as [{ task: string; curve: Float64Array }, { task: string; curve: Float64Array }];
  return {
    runId: lifetime.runId,
    from: first.task,
    to: second.task,
    fromCurve: first.curve,
    toCurve: second.curve,
  };
}

function partAreas(curve: Float64Array, parts: number): number[] {
  const length = Math.floor(curve.length / parts);
  return Array.from({ length: parts }, (_, i) => {
    const part = curve.subarray(i * length, (i + 1) * length);
    return trapezoid(part, 1 / part.length);
  });
}
