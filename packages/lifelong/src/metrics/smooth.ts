import { ConfigError } from "@everlong/core";
import { sum } from "./statistics.ts";

export const SMOOTHING_WINDOWS = ["flat", "hanning", "hamming", "bartlett", "blackman"] as const;
export type SmoothingWindow = (typeof SMOOTHING_WINDOWS)[number];

/** Window length the original chooses: a fifth of the series, at most 100. */
export function defaultWindowLength(length: number): number {
  return Math.min(Math.trunc(length * 0.2), 100);
}

/**
 * Moving average with reflected ends; the result is as long as the input, `[T]`.
 *
 * The series is extended by its mirror images, convolved with a window of unit sum, and cut so that index i is
 * the window starting `ceil(W/2)` before it. Windows below 3 return the series unchanged.
 *
 * @param windowLength W; null, or longer than the series: {@link defaultWindowLength}
 * @throws ConfigError for an unknown window
 */
export function smooth(
  series: ArrayLike<number>,
  windowLength: number | null = null,
  window: SmoothingWindow = "flat",
): Float64Array {
  if (!SMOOTHING_WINDOWS.includes(window)) {
    throw new ConfigError("smooth", `unknown window "${window}"`, {
      expected: `one of ${SMOOTHING_WINDOWS.join(", ")}`,
    });
  }
  const n = series.length;
  const w = windowLength === null || n < windowLength ? defaultWindowLength(n) : windowLength;
  if (w < 3) return Float64Array.from(series);
  const weights = unitWindow(w, window);
  const skip = Math.floor(w / 2 - 1);
  const out = new Float64Array(n);
  const at = new Float64Array(n + 2 * (w - 1));
  for (let i = 0; i < w - 1; i++) {
    at[i] = series[w - 1 - i]!;
    at[w - 1 + n + i] = series[n - 2 - i]!;
  }
  at.set(Array.from(series), w - 1);
  for (let i = 0; i < n; i++) {
    let total = 0;
    for (let k = 0; k < w; k++) total += weights[k]! * at[skip + i + k]!;
    out[i] = total;
  }
  return out;
}

/** Window of `length` weights with sum 1 (formulas of Blackman and Tukey 1958 and Harris 1978). */
export function unitWindow(length: number, window: SmoothingWindow): Float64Array {
  const weights = new Float64Array(length);
  const span = length - 1;
  for (let i = 0; i < length; i++) {
    // from -span to span in steps of 2: symmetric, so both halves round alike
    const k = 1 - length + 2 * i;
    const angle = (Math.PI * k) / span;
    weights[i] =
      window === "flat"
        ? 1
        : window === "hanning"
          ? 0.5 + 0.5 * Math.cos(angle)
          : window === "hamming"
            ? 0.54 + 0.46 * Math.cos(angle)
            : window === "blackman"
              ? 0.42 + 0.5 * Math.cos(angle) + 0.08 * Math.cos(2 * angle)
              : 1 - Math.abs(k) / span;
  }
  const total = sum(weights);
  return weights.map((value) => value / total);
}
