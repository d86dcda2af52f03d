// Complex discrete Fourier transforms of any length in float64: Cooley-Tukey over small prime factors, Bluestein's
// convolution for what is left. Written for accuracy (relative L2 error near 2e-16 * log2 n), not for speed.

import { invariant } from "../errors.ts";

/** Transforms one row of n complex numbers, forward and unscaled: X[k] = sum x[t] exp(-2 pi i k t / n). */
export type FourierPlan = (
  re: Float64Array,
  im: Float64Array,
  outRe: Float64Array,
  outIm: Float64Array,
  /** First element of the row, in and out. */
  offset: number,
) => void;

// Above this prime factor a convolution is cheaper than the sum.
const LARGEST_RADIX = 61;

/** cos and sin of 2 pi k / n, with the angle reduced to an eighth of a turn first: right to the last bit or so. */
export function unitRoot(k: number, n: number): [number, number] {
  let j = ((k % n) + n) % n;
  // 8 * angle / turn, in units of 1/n: the octant is an exact integer division.
  const octant = Math.floor((8 * j) / n);
  const quarter = Math.floor((octant + 1) / 2) % 4;
  j = 4 * j - Math.floor((octant + 1) / 2) * n;
  const angle = (Math.PI / 2) * (j / n);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  switch (quarter) {
    case 0:
      return [c, s];
    case 1:
      return [-s, c];
    case 2:
      return [-c, -s];
    default:
      return [s, -c];
  }
}

function smallestFactor(n: number): number {
  for (let p = 2; p * p <= n; p++) if (n % p === 0) return p;
  return n;
}

/** Prepares the tables for length n. */
export function planFourier(n: number): FourierPlan {
  invariant(n >= 1, "a transform has at least one point");
  const cos = new Float64Array(n);
  const sin = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    const [c, s] = unitRoot(k, n);
    cos[k] = c;
    sin[k] = -s;
  }
  let rest = n;
  while (rest > 1 && smallestFactor(rest) <= LARGEST_RADIX) rest /= smallestFactor(rest);
  const leaf = rest > 1 ? planBluestein(rest) : undefined;
  const leafRe = new Float64Array(rest);
  const leafIm = new Float64Array(rest);
  const partRe = new Float64Array(LARGEST_RADIX);
  const partIm = new Float64Array(LARGEST_RADIX);

  return (re, im, outRe, outIm, offset) => {
    // Transforms the m points at `from`, `from + step`, ... into out[to .. to + m - 1].
    const transform = (m: number, from: number, step: number, to: number): void => {
      if (m === 1) {
        outRe[to] = re[from]!;
        outIm[to] = im[from]!;
        return;
      }
      if (m === rest) {
        for (let t = 0; t < m; t++) {
          leafRe[t] = re[from + t * step]!;
          leafIm[t] = im[from + t * step]!;
        }
        leaf!(leafRe, leafIm, outRe, outIm, to);
        return;
      }
      const p = smallestFactor(m);
      const q = m / p;
      for (let r = 0; r < p; r++) transform(q, from + r * step, step * p, to + r * q);
      const turn = n / m;
      for (let k = 0; k < q; k++) {
        for (let r = 0; r < p; r++) {
          const at = to + r * q + k;
          const [c, s] = [cos[r * k * turn]!, sin[r * k * turn]!];
          partRe[r] = outRe[at]! * c - outIm[at]! * s;
          partIm[r] = outRe[at]! * s + outIm[at]! * c;
        }
        for (let j = 0; j < p; j++) {
          let sumRe = 0;
          let sumIm = 0;
          for (let r = 0; r < p; r++) {
            const w = ((r * j) % p) * (n / p);
            sumRe += partRe[r]! * cos[w]! - partIm[r]! * sin[w]!;
            sumIm += partRe[r]! * sin[w]! + partIm[r]! * cos[w]!;
          }
          outRe[to + j * q + k] = sumRe;
          outIm[to + j * q + k] = sumIm;
        }
      }
    };
    transform(n, offset, 1, offset);
  };
}

/** Bluestein 1970: kt = (k^2 + t^2 - (k - t)^2) / 2 turns the sum into a convolution, done at a power of two. */
function planBluestein(n: number): FourierPlan {
  const size = 2 ** Math.ceil(Math.log2(2 * n - 1));
  const plan = planFourier(size);
  const chirpRe = new Float64Array(n);
  const chirpIm = new Float64Array(n);
  const kernelRe = new Float64Array(size);
  const kernelIm = new Float64Array(size);
  for (let k = 0; k < n; k++) {
    const [c, s] = unitRoot((k * k) % (2 * n), 2 * n);
    chirpRe[k] = c;
    chirpIm[k] = -s;
    kernelRe[k] = kernelRe[(size - k) % size] = c;
    kernelIm[k] = kernelIm[(size - k) % size] = s;
  }
  const spectrumRe = new Float64Array(size);
  const spectrumIm = new Float64Array(size);
  plan(kernelRe, kernelIm, spectrumRe, spectrumIm, 0);
  const a = [0, 1, 2, 3].map(() => new Float64Array(size)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];

  return (re, im, outRe, outIm, offset) => {
    const [xRe, xIm, yRe, yIm] = a;
    xRe.fill(0);
    xIm.fill(0);
    for (let t = 0; t < n; t++) {
      xRe[t] = re[t]! * chirpRe[t]! - im[t]! * chirpIm[t]!;
      xIm[t] = re[t]! * chirpIm[t]! + im[t]! * chirpRe[t]!;
    }
    plan(xRe, xIm, yRe, yIm, 0);
    for (let k = 0; k < size; k++) {
      const pRe = yRe[k]! * spectrumRe[k]! - yIm[k]! * spectrumIm[k]!;
      const pIm = yRe[k]! * spectrumIm[k]! + yIm[k]! * spectrumRe[k]!;
      // Swapping the parts before and after makes the forward plan an inverse one.
      yRe[k] = pIm;
      yIm[k] = pRe;
    }
    plan(yRe, yIm, xIm, xRe, 0);
    for (let k = 0; k < n; k++) {
      const [c, s] = [chirpRe[k]! / size, chirpIm[k]! / size];
      outRe[offset + k] = xRe[k]! * c - xIm[k]! * s;
      outIm[offset + k] = xRe[k]! * s + xIm[k]! * c;
    }
  };
}
