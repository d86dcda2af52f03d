import { ShapeError } from "@everlong/core";

/** Scores of hard predictions against labels; precision, recall and F1 are those of `positive` (binary) or macro averages (`positive` null). */
export interface Scores {
  readonly accuracy: number;
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  /** Share of items with a prediction (not -1). */
  readonly coverage: number;
}

/** Scores of predictions 0..K-1, where -1 means none and counts as wrong. */
export function score(
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
  options: { classes?: number; positive?: number | null } = {},
): Scores {
  const { classes = 2, positive = classes === 2 ? 1 : null } = options;
  if (labels.length !== predictions.length)
    throw new ShapeError("score", "labels and predictions differ in length", {
      expected: `${labels.length}`,
      got: `${predictions.length}`,
    });
  let right = 0;
  let said = 0;
  for (let i = 0; i < labels.length; i++) {
    if (predictions[i] === labels[i]) right++;
    if (predictions[i]! >= 0) said++;
  }
  const list = positive === null ? Array.from({ length: classes }, (_, c) => c) : [positive];
  const each = list.map((c) => oneClass(labels, predictions, c));
  const mean = (of: (x: (typeof each)[number]) => number): number =>
    each.reduce((sum, x) => sum + of(x), 0) / each.length;
  const n = Math.max(1, labels.length);
  return {
    accuracy: right / n,
    precision: mean((x) => x.precision),
    recall: mean((x) => x.recall),
    f1: mean((x) => x.f1),
    coverage: said / n,
  };
}

function oneClass(
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
  c: number,
): { precision: number; recall: number; f1: number } {
  let [both, said, truth] = [0, 0, 0];
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] === c) truth++;
    if (predictions[i] === c) said++;
    if (labels[i] === c && predictions[i] === c) both++;
  }
  return {
    precision: said === 0 ? 0 : both / said,
    recall: truth === 0 ? 0 : both / truth,
    f1: said + truth === 0 ? 0 : (2 * both) / (said + truth),
  };
}

/** P(class 1) above 0.5, as 0 or 1, from `[N, 2]` probabilities: the rule behind the published numbers (a tie is negative). */
export function positives(probabilities: Float64Array): Int16Array {
  return Int16Array.from({ length: probabilities.length / 2 }, (_, i) =>
    probabilities[i * 2 + 1]! > 0.5 ? 1 : 0,
  );
}

/** Mean squared distance between probabilities `[N, K]` and labels (Brier 1950, summed over classes). */
export function brier(labels: ArrayLike<number>, probabilities: Float64Array, classes = 2): number {
  let sum = 0;
  for (let i = 0; i < labels.length; i++)
    for (let c = 0; c < classes; c++)
      sum += (probabilities[i * classes + c]! - (labels[i] === c ? 1 : 0)) ** 2;
  return sum / labels.length;
}

/** Mean -log P(label), probabilities floored at 1e-12. */
export function logLoss(labels: ArrayLike<number>, probabilities: Float64Array, classes = 2): number {
  let sum = 0;
  for (let i = 0; i < labels.length; i++)
    sum -= Math.log(Math.max(1e-12, probabilities[i * classes + labels[i]!]!));
  return sum / labels.length;
}

/** One bin of a calibration curve: P(class) on average, how often it was true, and how many items. */
export interface CalibrationBin {
  readonly predicted: number;
  readonly observed: number;
  readonly count: number;
}

/** Calibration of P(`positive`) in equal-width bins; empty bins are left out. */
export function calibration(
  labels: ArrayLike<number>,
  probabilities: Float64Array,
  options: { classes?: number; positive?: number; bins?: number } = {},
): CalibrationBin[] {
  const { classes = 2, positive = 1, bins = 10 } = options;
  const sums = Array.from({ length: bins }, () => ({ p: 0, y: 0, count: 0 }));
  for (let i = 0; i < labels.length; i++) {
    const p = probabilities[i * classes + positive]!;
    const bin = sums[Math.min(bins - 1, Math.floor(p * bins))]!;
    bin.p += p;
    bin.y += labels[i] === positive ? 1 : 0;
    bin.count++;
  }
  return sums
    .filter((b) => b.count > 0)
    .map((b) => ({ predicted: b.p / b.count, observed: b.y / b.count, count: b.count }));
}

/** Expected calibration error: mean gap between predicted and observed, weighted by the bins' counts. */
export function calibrationError(bins: readonly CalibrationBin[]): number {
  const n = bins.reduce((sum, b) => sum + b.count, 0);
  return bins.reduce((sum, b) => sum + (b.count / n) * Math.abs(b.predicted - b.observed), 0);
}
