// Sums of damped oscillations close to given filters, in float64 on the host: poles from the filter's Hankel matrix (B. L. Ho and
// R. E. Kalman 1966; S. Y. Kung 1978), weights by least squares, both refined together (K. Levenberg 1944, D. W. Marquardt 1963).

import { ConfigError } from "@everlong/core";
import FFT from "fft.js";
import { EigenvalueDecomposition, Matrix, QrDecomposition, solve } from "ml-matrix";

/** `k[0] = first`, `k[1 + t] = Re sum_n weight_n pole_n^t`, with `pole = exp(decay + i angle)`. */
export interface ModalFit {
  readonly first: number;
  /** Logarithms of the poles' sizes, at most 0. */
  readonly decay: Float64Array;
  readonly angle: Float64Array;
  readonly weightRe: Float64Array;
  readonly weightIm: Float64Array;
  /** `|k - fit| / |k|` over all taps, in the Euclidean norm. */
  readonly error: number;
}

export interface ModalFitOptions {
  /** Complex numbers M of the state. */
  readonly modes: number;
  /** Most steps of the refinement. Default 20. */
  readonly refine?: number;
}

/** Smallest size of a pole; what decays faster is over after one position. */
const LEAST = 1e-8;
const OVERSAMPLE = 8;

/** Fits one filter. @throws ConfigError unless the filter has more taps than the fit has numbers */
export function fitModes(taps: Float64Array, options: ModalFitOptions): ModalFit {
  const { modes, refine = 20 } = options;
  if (!Number.isInteger(modes) || modes < 1)
    throw new ConfigError("fitModes", "modes must be a positive integer", { got: `${modes}` });
  if (taps.length < 4 * modes + 2)
    throw new ConfigError("fitModes", "a filter has too few taps for as many modes", {
      expected: `at least ${4 * modes + 2} taps`,
      got: `${taps.length}`,
    });
  const tail = taps.slice(1);
  // Where the filter has fewer states than the fit has room for, the smaller system is the cleaner start.
  const starts = hankelPoles(tail, [2 * modes, modes, Math.ceil(modes / 2)]).map((poles) => {
    const all = weigh(tail, poles);
    // The strongest by energy, then weighed anew without the others.
    return all.decay.length > modes ? weigh(tail, strongest(all, modes)) : all;
  });
  const lefts = starts.map((start) => norm(residual(tail, start)));
  const fit = refined(tail, starts[lefts.indexOf(Math.min(...lefts))]!, refine);
  const pad = (x: Float64Array): Float64Array => Float64Array.from({ length: modes }, (_, i) => x[i] ?? 0);
  const total = norm(taps);
  return {
    first: taps[0]!,
    decay: pad(fit.decay),
    angle: pad(fit.angle),
    weightRe: pad(fit.weightRe),
    weightIm: pad(fit.weightIm),
    error: total === 0 ? 0 : norm(residual(tail, fit)) / total,
  };
}

interface Poles {
  readonly decay: Float64Array;
  readonly angle: Float64Array;
}
interface Modes extends Poles {
  readonly weightRe: Float64Array;
  readonly weightIm: Float64Array;
}

const norm = (x: Float64Array): number => Math.sqrt(x.reduce((n, v) => n + v * v, 0));

/** Products with the matrix `H[i, j] = h[i + j]` of `size` rows, by transforms. */
function hankel(h: Float64Array, size: number): (x: Float64Array) => Float64Array {
  // Of a convolution with the reversed vector only places size - 1 .. 2 size - 2 are read; the rest may wrap.
  const fft = new FFT(2 ** Math.ceil(Math.log2(Math.max(2, 2 * size - 1))));
  const spectrum = (values: ArrayLike<number>): number[] => {
    const input = Array.from<number>({ length: fft.size }).fill(0);
    for (let i = 0; i < values.length; i++) input[i] = values[i]!;
    const out = fft.createComplexArray() as number[];
    fft.realTransform(out, input);
    fft.completeSpectrum(out);
    return out;
  };
  const kept = spectrum(h.subarray(0, 2 * size - 1));
  return (x) => {
    const other = spectrum(x.slice().reverse());
    for (let i = 0; i < other.length; i += 2) {
      const [a, b, c, d] = [kept[i]!, kept[i + 1]!, other[i]!, other[i + 1]!];
      other[i] = a * c - b * d;
      other[i + 1] = a * d + b * c;
    }
    const out = fft.createComplexArray() as number[];
    fft.inverseTransform(out, other);
    return Float64Array.from({ length: size }, (_, i) => out[2 * (size - 1 + i)]!);
  };
}

/** Makes columns orthonormal, twice for accuracy; vanishing ones are left out. */
function orthonormal(columns: readonly Float64Array[]): Float64Array[] {
  const kept: Float64Array[] = [];
  for (const column of columns) {
    const v = column.slice();
    const before = norm(v);
    for (let pass = 0; pass < 2; pass++)
      for (const q of kept) {
        const along = q.reduce((n, x, i) => n + x * v[i]!, 0);
        for (let i = 0; i < v.length; i++) v[i]! -= along * q[i]!;
      }
    const size = norm(v);
    if (size > 1e-13 * before && size > 0) kept.push(v.map((x) => x / size));
  }
  return kept;
}

/** Poles of the systems of at most so many states whose Hankel matrices are closest to the filter's, conjugates left out. */
function hankelPoles(h: Float64Array, orders: readonly number[]): Poles[] {
  const size = Math.floor((h.length + 1) / 2);
  const times = hankel(h, size);
  let state = 12345;
  const draw = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
  const count = Math.min(size, Math.max(...orders) + OVERSAMPLE);
  let basis: Float64Array[] = Array.from({ length: count }, () => Float64Array.from({ length: size }, draw));
  // The range of a symmetric matrix by subspace iteration (Halko et al. 2011).
  for (let pass = 0; pass < 4; pass++) basis = orthonormal(basis.map(times));
  if (basis.length === 0) return [{ decay: new Float64Array(0), angle: new Float64Array(0) }];
  const images = basis.map(times);
  const small = new Matrix(basis.map((q) => images.map((y) => q.reduce((n, x, i) => n + x * y[i]!, 0))));
  const symmetric = Matrix.add(small, small.transpose()).mul(0.5);
  const found = new EigenvalueDecomposition(symmetric, { assumeSymmetric: true });
  const sizes = found.realEigenvalues.map(Math.abs);
  const largest = Math.max(...sizes);
  const chosen = sizes
    .map((s, i) => ({ s, i }))
    .filter(({ s }) => s > 1e-14 * largest)
    .sort((x, y) => y.s - x.s);
  const vectors = chosen.map(({ i }) => {
    const v = new Float64Array(size);
    basis.forEach((q, k) => {
      const c = found.eigenvectorMatrix.get(k, i);
      for (let t = 0; t < size; t++) v[t]! += c * q[t]!;
    });
    return v;
  });
  return orders.map((order) => shiftPoles(vectors.slice(0, order)));
}

/** Poles of the least-squares map from the rows of some orthonormal columns to the next rows. */
function shiftPoles(vectors: readonly Float64Array[]): Poles {
  const size = vectors[0]!.length;
  const last = vectors.map((v) => v[size - 1]!);
  // Without their last row the columns are orthonormal up to one dyad: Sherman and Morrison's formula.
  const left = Math.max(1e-12, 1 - last.reduce((n, x) => n + x * x, 0));
  const shifted = vectors.map((v) =>
    vectors.map((w) => {
      let total = 0;
      for (let t = 0; t + 1 < size; t++) total += v[t]! * w[t + 1]!;
      return total;
    }),
  );
  const along = vectors.map((_, j) => last.reduce((n, l, k) => n + l * shifted[k]![j]!, 0));
  const map = new Matrix(shifted.map((row, i) => row.map((x, j) => x + (last[i]! * along[j]!) / left)));
  const poles = new EigenvalueDecomposition(map);
  const kept = poles.realEigenvalues.flatMap((re, i) => {
    const im = poles.imaginaryEigenvalues[i]!;
    const pole = { decay: Math.log(Math.max(LEAST, Math.hypot(re, im))), angle: Math.atan2(im, re) };
    return im >= 0 ? [pole] : [];
  });
  // A pole outside of the circle grows for ever: its mirror image decays as fast.
  return {
    decay: Float64Array.from(kept, (p) => -Math.abs(p.decay)),
    angle: Float64Array.from(kept, (p) => p.angle),
  };
}

/** Calls `visit` with the powers of every pole, mode after mode. */
function eachPower(
  { decay, angle }: Poles,
  count: number,
  visit: (mode: number, t: number, re: number, im: number) => void,
): void {
  decay.forEach((d, n) => {
    const [stepRe, stepIm] = [Math.exp(d) * Math.cos(angle[n]!), Math.exp(d) * Math.sin(angle[n]!)];
    let [re, im] = [1, 0];
    for (let t = 0; t < count; t++) {
      visit(n, t, re, im);
      [re, im] = [re * stepRe - im * stepIm, re * stepIm + im * stepRe];
    }
  });
}

/** The best weights for given poles. */
function weigh(h: Float64Array, poles: Poles): Modes {
  const count = poles.decay.length;
  const none = new Float64Array(count);
  if (count === 0) return { ...poles, weightRe: none, weightIm: none };
  const isReal = (n: number): boolean => Math.sin(poles.angle[n]!) === 0;
  const at: (readonly [number, number])[] = [];
  let columns = 0;
  for (let n = 0; n < count; n++) at.push([columns++, isReal(n) ? -1 : columns++]);
  const matrix = Matrix.zeros(h.length, columns);
  eachPower(poles, h.length, (n, t, re, im) => {
    matrix.set(t, at[n]![0], re);
    if (at[n]![1] >= 0) matrix.set(t, at[n]![1], -im);
  });
  const qr = new QrDecomposition(matrix);
  const right = Matrix.columnVector(Array.from(h));
  const solved = qr.isFullRank() ? qr.solve(right) : solve(matrix, right, true);
  const weight = (column: number): number => (column < 0 ? 0 : solved.get(column, 0));
  return {
    ...poles,
    weightRe: Float64Array.from(at, ([re]) => weight(re)),
    weightIm: Float64Array.from(at, ([, im]) => weight(im)),
  };
}

function strongest(modes: Modes, count: number): Poles {
  const energy = (n: number): number =>
    (modes.weightRe[n]! ** 2 + modes.weightIm[n]! ** 2) / Math.max(1e-9, -Math.expm1(2 * modes.decay[n]!));
  const order = Array.from(modes.decay, (_, n) => n).sort((a, b) => energy(b) - energy(a));
  const pick = (x: Float64Array): Float64Array => Float64Array.from(order.slice(0, count), (n) => x[n]!);
  return { decay: pick(modes.decay), angle: pick(modes.angle) };
}

function residual(h: Float64Array, modes: Modes): Float64Array {
  const left = h.slice();
  eachPower(modes, h.length, (n, t, re, im) => {
    left[t]! -= modes.weightRe[n]! * re - modes.weightIm[n]! * im;
  });
  return left;
}

/** Levenberg and Marquardt's steps on poles and weights together, as long as they help. */
function refined(h: Float64Array, start: Modes, steps: number): Modes {
  const count = start.decay.length;
  if (count === 0) return start;
  const width = 4 * count;
  let [best, left] = [start, residual(h, start)];
  let damping = 1e-3;
  for (let step = 0; step < steps; step++) {
    // Columns: decay, angle, real and imaginary weight of every mode.
    const columns = Array.from({ length: width }, () => new Float64Array(h.length));
    eachPower(best, h.length, (n, t, re, im) => {
      const [wr, wi] = [best.weightRe[n]!, best.weightIm[n]!];
      columns[4 * n]![t] = t * (wr * re - wi * im);
      columns[4 * n + 1]![t] = -t * (wr * im + wi * re);
      columns[4 * n + 2]![t] = re;
      columns[4 * n + 3]![t] = -im;
    });
    const dot = (a: Float64Array, b: Float64Array): number => {
      let total = 0;
      for (let t = 0; t < a.length; t++) total += a[t]! * b[t]!;
      return total;
    };
    const scale = columns.map((c) => norm(c) || 1);
    const normal = Matrix.zeros(width, width);
    for (let i = 0; i < width; i++)
      for (let j = 0; j <= i; j++) {
        const value = dot(columns[i]!, columns[j]!) / (scale[i]! * scale[j]!);
        normal.set(i, j, value);
        normal.set(j, i, value);
      }
    const right = Matrix.columnVector(columns.map((c, i) => dot(c, left) / scale[i]!));
    let better = false;
    for (let attempt = 0; attempt < 6 && !better; attempt++) {
      const damped = Matrix.add(normal, Matrix.eye(width, width).mul(damping));
      const move = solve(damped, right);
      const by = (n: number, k: number): number => move.get(4 * n + k, 0) / scale[4 * n + k]!;
      const next: Modes = {
        decay: best.decay.map((d, n) => Math.min(0, Math.max(Math.log(LEAST), d + by(n, 0)))),
        angle: best.angle.map((a, n) => a + by(n, 1)),
        weightRe: best.weightRe.map((w, n) => w + by(n, 2)),
        weightIm: best.weightIm.map((w, n) => w + by(n, 3)),
      };
      const after = residual(h, next);
      better = norm(after) < norm(left);
      damping = better ? Math.max(1e-12, damping / 5) : Math.min(1e6, damping * 8);
      if (!better) continue;
      const gain = 1 - norm(after) / norm(left);
      [best, left] = [next, after];
      if (gain < 1e-4) return best;
    }
    if (!better) return best;
  }
  return best;
}
