// Small float64 statistics with the conventions of NumPy and SciPy, which the published numbers rest on.

/** Sum by pairs (NumPy's order): the error grows with log n, and means agree to the last bits. */
export function sum(values: ArrayLike<number>, start = 0, end: number = values.length): number {
  const n = end - start;
  if (n < 8) {
    let total = 0;
    for (let i = start; i < end; i++) total += values[i]!;
    return total;
  }
  if (n <= 128) {
    const r = Array.from({ length: 8 }, (_, k) => values[start + k]!);
    let i = 8;
    for (; i + 8 <= n; i += 8) for (let k = 0; k < 8; k++) r[k]! += values[start + i + k]!;
    let total = r[0]! + r[1]! + (r[2]! + r[3]!) + (r[4]! + r[5]! + (r[6]! + r[7]!));
    for (; i < n; i++) total += values[start + i]!;
    return total;
  }
  let half = n >> 1;
  half -= half % 8;
  return sum(values, start, start + half) + sum(values, start + half, end);
}

/** Arithmetic mean; NaN for no values. */
export function mean(values: ArrayLike<number>, start = 0, end: number = values.length): number {
  return end > start ? sum(values, start, end) / (end - start) : Number.NaN;
}

/** Mean of the values that are not NaN; NaN if there are none. */
export function nanMean(values: ArrayLike<number>): number {
  return mean(withoutNaN(values));
}

/** Median of the values that are not NaN; NaN if there are none. */
export function nanMedian(values: ArrayLike<number>): number {
  return median(withoutNaN(values));
}

/** Median; the mean of the middle two for an even count. */
export function median(values: ArrayLike<number>): number {
  const n = values.length;
  if (n === 0) return Number.NaN;
  const sorted = Float64Array.from(values).sort();
  return n % 2 === 1 ? sorted[(n - 1) / 2]! : (sorted[n / 2 - 1]! + sorted[n / 2]!) / 2;
}

/** Quantile with linear interpolation between order statistics (Hyndman and Fan's type 7). */
export function quantile(values: ArrayLike<number>, q: number): number {
  const n = values.length;
  if (n === 0) return Number.NaN;
  const sorted = Float64Array.from(values).sort();
  const position = q * (n - 1);
  const below = Math.floor(position);
  const t = position - below;
  const a = sorted[below]!;
  const b = sorted[Math.min(below + 1, n - 1)]!;
  // from the nearer end, so that t = 1 gives b exactly
  return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
}

/** Theil-Sen slope of `y` over 0, 1, 2, ...: the median slope of all pairs. Needs two values. */
export function theilSenSlope(y: ArrayLike<number>): number {
  const slopes: number[] = [];
  for (let i = 0; i < y.length; i++) {
    for (let j = i + 1; j < y.length; j++) slopes.push((y[j]! - y[i]!) / (j - i));
  }
  return median(slopes);
}

/** Least-squares slope of `y` over `x`, centred for accuracy; NaN when `x` is constant. */
export function linearSlope(x: ArrayLike<number>, y: ArrayLike<number>): number {
  const mx = mean(x);
  const my = mean(y);
  let xy = 0;
  let xx = 0;
  for (let i = 0; i < x.length; i++) {
    xy += (x[i]! - mx) * (y[i]! - my);
    xx += (x[i]! - mx) ** 2;
  }
  return xy / xx;
}

/** Smallest and largest of the values that are not NaN; NaN for none. */
export function range(values: ArrayLike<number>): { min: number; max: number } {
  let min = Number.NaN;
  let max = Number.NaN;
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    if (Number.isNaN(v)) continue;
    if (!(v >= min)) min = v;
    if (!(v <= max)) max = v;
  }
  return { min, max };
}

/** Trapezoid rule over equally spaced points `dx` apart. */
export function trapezoid(values: ArrayLike<number>, dx: number): number {
  const terms = new Float64Array(Math.max(0, values.length - 1));
  for (let i = 0; i < terms.length; i++) terms[i] = (dx * (values[i + 1]! + values[i]!)) / 2;
  return sum(terms);
}

function withoutNaN(values: ArrayLike<number>): number[] {
  return Array.from(values).filter((v) => !Number.isNaN(v));
}
