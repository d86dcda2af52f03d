import type { Regime } from "../logs/table.ts";
import type { Lifetime } from "./lifetime.ts";
import { mean } from "./statistics.ts";
import { smooth } from "./smooth.ts";

/** Share of a training block that counts as its end; of an evaluation block everything counts. */
const TERMINAL_SHARE = 0.1;

/** Values of one regime. */
export interface RegimeMetrics {
  readonly regime: Regime;
  /** Largest value of the smoothed curve. */
  readonly saturation: number;
  /** Experiences until it is first reached, from 0. */
  readonly expToSaturation: number;
  /** Terminal performance TP: mean of the last tenth (train) or of everything (test). */
  readonly terminal: number;
  /** Middle of the stretch that TP averages, in experiences. */
  readonly expToTerminal: number;
  /** Mean performance; NaN for a wake evaluation in a lifetime that has sleep blocks. */
  readonly average: number;
}

/** Saturation, terminal and mean performance of every regime (l2metrics; arXiv 2201.08278, sections 4 and 5). */
export function regimeMetrics(lifetime: Lifetime): RegimeMetrics[] {
  const counted = new Set(countedRegimes(lifetime.regimes));
  return lifetime.regimes.map((regime) => {
    const curve = experienceMeans(lifetime, [regime]);
    const { value, at } = saturation(curve, lifetime.options.compat);
    const { terminal, expToTerminal } = terminalPerformance(curve, regime.blockType === "test");
    const average = counted.has(regime) ? mean(lifetime.perf, regime.start, regime.end) : Number.NaN;
    return { regime, saturation: value, expToSaturation: at, terminal, expToTerminal, average };
  });
}

/**
 * Regimes that count for averages, maintenance and transfer: where a lifetime has sleep blocks, evaluations
 * while awake are left out.
 */
export function countedRegimes(regimes: readonly Regime[]): readonly Regime[] {
  if (!regimes.some((regime) => regime.blockSubtype === "sleep")) return regimes;
  return regimes.filter((regime) => !(regime.blockType === "test" && regime.blockSubtype === "wake"));
}

/** Performance by experience over some regimes, `[T]`; several rows of one experience are averaged. */
export function experienceMeans(lifetime: Lifetime, regimes: readonly Regime[]): Float64Array {
  const rows = regimes.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));
  return meansByExperience(
    rows.map((r) => lifetime.table.expNum[r]!),
    rows.map((r) => lifetime.perf[r]!),
  );
}

/** Values averaged by experience number, in ascending order of it if any repeats. */
export function meansByExperience(expNum: ArrayLike<number>, perf: ArrayLike<number>): Float64Array {
  const groups = new Map<number, number[]>();
  for (let i = 0; i < perf.length; i++) {
    const group = groups.get(expNum[i]!);
    if (group === undefined) groups.set(expNum[i]!, [perf[i]!]);
    else group.push(perf[i]!);
  }
  if (groups.size === perf.length) return Float64Array.from(perf);
  return Float64Array.from(
    [...groups].sort(([a], [b]) => a - b),
    ([, values]) => mean(values),
  );
}

/**
 * Windows near a reflected end hold the same values in another order: their means are equal, but for the rounding of
 * sums. Values this close to the largest count as equal to it.
 */
const TIE = 1e-12;

/**
 * Largest value of the smoothed curve and where it is first reached.
 *
 * @param compat compare the rounded sums themselves, as the original does
 */
export function saturation(curve: ArrayLike<number>, compat = false): { value: number; at: number } {
  const smoothed = smooth(curve);
  if (smoothed.length === 0) return { value: Number.NaN, at: Number.NaN };
  const value = smoothed.reduce((a, b) => Math.max(a, b));
  const enough = compat ? value : value - TIE * Math.abs(value);
  return { value, at: smoothed.findIndex((v) => v >= enough) };
}

function terminalPerformance(
  curve: Float64Array,
  test: boolean,
): { terminal: number; expToTerminal: number } {
  const share = test ? 1 : TERMINAL_SHARE;
  return {
    terminal: mean(curve, Math.trunc((1 - share) * curve.length)),
    expToTerminal: Math.trunc((1 - share / 2) * curve.length),
  };
}
