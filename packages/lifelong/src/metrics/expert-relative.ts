// Metrics relative to single-task experts: relative performance and sample efficiency.

import type { Regime } from "../logs/table.ts";
import type { Lifetime, SteCurve } from "./lifetime.ts";
import { experienceMeans, meansByExperience, saturation } from "./regime-metrics.ts";
import { linearSlope, mean, sum } from "./statistics.ts";

/** Below this share of the expert's saturation the curve never learned, and efficiency is 0. */
const LEARNED_SHARE = 0.2;

/**
 * Performance relative to the expert: sum of the task's training curve over the sum of the expert's, both cut to the
 * shorter. One value an expert run, or a single one against their mean curve (`time`).
 */
export function relativePerformance(lifetime: Lifetime, task: string): number[] {
  const own = trainingCurve(lifetime, task).perf;
  if (own.length === 0) return [];
  return expertCurves(lifetime, task).map(({ perf }) => {
    const length = Math.min(own.length, perf.length);
    return sum(own, 0, length) / sum(perf, 0, length);
  });
}

/** Sample efficiency of a task and its parts; a list has one entry an expert run. */
export interface SampleEfficiency {
  readonly taskSaturation: number;
  readonly taskExpToSaturation: number;
  readonly steSaturation: readonly number[];
  readonly steExpToSaturation: readonly number[];
  readonly saturationRatio: readonly number[];
  readonly expToSaturationRatio: readonly number[];
  readonly values: readonly number[];
}

/**
 * Sample efficiency: (saturation / expert's saturation) x (expert's experiences to saturation / the task's). Zero for
 * a curve that falls or stays below a fifth of the expert's saturation. Null without training or experts, or where
 * the first experience is already the best.
 */
export function sampleEfficiency(lifetime: Lifetime, task: string): SampleEfficiency | null {
  const own = trainingCurve(lifetime, task);
  const experts = lifetime.ste.get(task) ?? [];
  if (own.perf.length === 0 || experts.length === 0) return null;
  const { compat } = lifetime.options;
  const sat = saturation(experienceMeans(lifetime, own.regimes), compat);
  if (sat.at === 0) return null;
  const falling = linearSlope(own.expNum, own.perf) < 0;

  const curves =
    lifetime.options.steAveraging === "time"
      ? expertCurves(lifetime, task).map((curve) => curve.perf)
      : experts.map((curve) => {
          const train = trainRows(curve);
          return meansByExperience(
            train.map((r) => curve.expNum[r]!),
            train.map((r) => curve.perf[r]!),
          );
        });
  const usable = curves.map((curve) => saturation(curve, compat)).filter(({ at }) => at !== 0);
  if (usable.length === 0 && lifetime.options.steAveraging === "time") return null;
  const ratios = usable.map((expert) => sat.value / expert.value);
  const speeds = usable.map((expert) => expert.at / sat.at);
  return {
    taskSaturation: sat.value,
    taskExpToSaturation: sat.at,
    steSaturation: usable.map((expert) => expert.value),
    steExpToSaturation: usable.map((expert) => expert.at),
    saturationRatio: ratios,
    expToSaturationRatio: speeds,
    values: usable.map((expert, i) =>
      sat.value < expert.value * LEARNED_SHARE || falling ? 0 : ratios[i]! * speeds[i]!,
    ),
  };
}

/** The task's wake training as one curve. */
export function trainingCurve(
  lifetime: Lifetime,
  task: string,
): { regimes: Regime[]; perf: Float64Array; expNum: Float64Array; position: Float64Array } {
  const regimes = lifetime.regimes.filter(
    (r) => r.task === task && r.blockType === "train" && r.blockSubtype === "wake",
  );
  const rows = regimes.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));
  return {
    regimes,
    perf: Float64Array.from(rows, (r) => lifetime.perf[r]!),
    expNum: Float64Array.from(rows, (r) => lifetime.table.expNum[r]!),
    position: Float64Array.from(rows, (r) => lifetime.position[r]!),
  };
}

/** Expert training curves; with `time` averaging the mean of them, cut to the shortest. */
export function expertCurves(lifetime: Lifetime, task: string): { source: string; perf: Float64Array }[] {
  const curves = (lifetime.ste.get(task) ?? []).map((curve) => ({
    source: curve.source,
    perf: Float64Array.from(trainRows(curve), (r) => curve.perf[r]!),
  }));
  if (lifetime.options.steAveraging === "metrics" || curves.length === 0) return curves;
  const length = Math.min(...curves.map((curve) => curve.perf.length));
  const average = Float64Array.from({ length }, (_, i) => mean(curves.map((curve) => curve.perf[i]!)));
  return [{ source: "mean of experts", perf: average }];
}

function trainRows(curve: SteCurve): number[] {
  return [...curve.perf.keys()].filter((r) => curve.test[r] === 0);
}
