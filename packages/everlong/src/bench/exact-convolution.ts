// Convolutions in float64 that share nothing with the kernels.

/** Sines and cosines of the first half of a circle of `n` points. */
interface Circle {
  readonly n: number;
  readonly cos: Float64Array;
  readonly sin: Float64Array;
}

function circleOf(n: number): Circle {
  const half = Math.max(1, n / 2);
  const [cos, sin] = [new Float64Array(half), new Float64Array(half)];
  for (let k = 0; k < half; k++) {
    cos[k] = Math.cos((2 * Math.PI * k) / n);
    sin[k] = Math.sin((2 * Math.PI * k) / n);
  }
  return { n, cos, sin };
}

/** `size` points from `at` on, in place; frequencies come with their bits reversed. Halves are done one by one, so that they stay in the cache. */
function forward(re: Float64Array, im: Float64Array, at: number, size: number, circle: Circle): void {
  const half = size / 2;
  if (half < 1) return;
  const { n, cos, sin } = circle;
  const stride = n / size;
  for (let k = 0, p = at, w = 0; k < half; k++, p++, w += stride) {
    const q = p + half;
    const [a, b] = [re[p]! - re[q]!, im[p]! - im[q]!];
    re[p]! += re[q]!;
    im[p]! += im[q]!;
    const [c, s] = [cos[w]!, sin[w]!];
    re[q] = a * c + b * s;
    im[q] = b * c - a * s;
  }
  if (half === 1) return;
  forward(re, im, at, half, circle);
  forward(re, im, at + half, half, circle);
}

/** Back from frequencies as {@link forward} leaves them, without the factor. */
function backward(re: Float64Array, im: Float64Array, at: number, size: number, circle: Circle): void {
  const half = size / 2;
  if (half < 1) return;
  if (half > 1) {
    backward(re, im, at, half, circle);
    backward(re, im, at + half, half, circle);
  }
  const { n, cos, sin } = circle;
  const stride = n / size;
  for (let k = 0, p = at, w = 0; k < half; k++, p++, w += stride) {
    const q = p + half;
    const [c, s] = [cos[w]!, sin[w]!];
    const [a, b] = [re[q]! * c - im[q]! * s, re[q]! * s + im[q]! * c];
    re[q] = re[p]! - a;
    im[q] = im[p]! - b;
    re[p]! += a;
    im[p]! += b;
  }
}

/**
 * `y[t] = sum k[j] u[t - j]` for t < L, of two rows with one filter; indices modulo L, or zeros outside. The rows are the real and the imaginary
 * part of one transform.
 */
export function convolveExactly(
  rows: readonly [ArrayLike<number>, ArrayLike<number>],
  k: ArrayLike<number>,
  circular: boolean,
): [Float64Array, Float64Array] {
  const { length } = rows[0];
  const wraps = circular && Number.isInteger(Math.log2(length)) && k.length <= length;
  const n = wraps ? length : 2 ** Math.ceil(Math.log2(length + k.length));
  const circle = circleOf(n);
  const [re, im, filterRe, filterIm] = [0, 1, 2, 3].map(() => new Float64Array(n)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  re.set(rows[0]);
  im.set(rows[1]);
  filterRe.set(k);
  forward(re, im, 0, n, circle);
  forward(filterRe, filterIm, 0, n, circle);
  for (let i = 0; i < n; i++) {
    const [a, b] = [re[i]!, im[i]!];
    re[i] = (a * filterRe[i]! - b * filterIm[i]!) / n;
    im[i] = (a * filterIm[i]! + b * filterRe[i]!) / n;
  }
  backward(re, im, 0, n, circle);
  const row = (y: Float64Array): Float64Array =>
    new Float64Array(length).map((_, t) => y[t]! + (circular && !wraps ? (y[t + length] ?? 0) : 0));
  return [row(re), row(im)];
}
