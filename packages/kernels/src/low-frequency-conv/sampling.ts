// The coarse grid of a convolution that keeps low frequencies, its window, and the tables of both; README.md derives them.

import { leafOf, niceLength } from "../fft-conv/wasm-lengths.ts";
import type { WasmTable } from "../wasm-step.ts";

/** Grid points that a sample meets: fewer where the kept band lies further from where the grid's images begin. */
export type WindowWidth = 7 | 8 | 9;

/** How sequences of one length meet the grid for one number of kept frequencies. */
export interface Sampling {
  readonly length: number;
  readonly bins: number;
  /** Complex points N of the transform; the grid has 2 N real points for 2 L samples. */
  readonly size: number;
  readonly width: WindowWidth;
  /** A grid point is `p / q = L / N` samples, in lowest terms. */
  readonly p: number;
  readonly q: number;
  /** Grid points in front of sample 0 that samples meet. */
  readonly reach: number;
  /** Grid points that samples meet: from `-reach` on. */
  readonly points: number;
  /** Samples of a grid point, a multiple of 4. */
  readonly taps: number;
  /** First sample of the first of those grid points. */
  readonly firstSample: number;
  /** Periods of p samples and q points that share a reading of weights, how often that many are taken, and how much of a period. */
  readonly periods: 1 | 8;
  readonly rounds: number;
  readonly pointsAtOnce: number;
  readonly samplesAtOnce: number;
}

/** Least and largest ratio of the grid's highest frequency to the highest kept one. */
const OVERSAMPLING: readonly [number, number] = [1.5, 2.6];
/** Widths of windows by the oversampling from which their images are below 2e-7 of what is kept. */
const WIDTHS: readonly (readonly [WindowWidth, number])[] = [
  [7, 2.3],
  [8, 1.75],
  [9, 0],
];
const SMALLEST = 64;
/** Longest period of which eight are taken at once. */
const LONGEST_PERIOD = 512;
const SAMPLES_AT_ONCE = 1024;
const POINTS_AT_ONCE = 32;
/** Measured costs for a sample: a transform's level, where there are as many points as samples, and a number of a window's width. */
const LEVEL_COST = 3;
const WINDOW_COST = 1.1;
/** The same where weights serve one sum each. */
const SINGLE_COST = 3;

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** The first sample within half a window of a grid point. */
const firstSampleOf = (point: number, length: number, size: number, width: number): number =>
  Math.ceil(((2 * point - width) * length) / (2 * size));

interface Candidate extends Pick<Sampling, "size" | "width" | "p" | "q" | "reach" | "periods"> {
  readonly cost: number;
}

function candidate(length: number, bins: number, size: number): Candidate {
  const [width] = WIDTHS.find(([, ratio]) => size >= ratio * bins)!;
  const divisor = gcd(length, size);
  const [p, q] = [length / divisor, size / divisor];
  const reach = Math.ceil(width / 2) + 1;
  const periods = p <= LONGEST_PERIOD && size >= 8 * q + 4 * reach ? 8 : 1;
  const windowCost = width * (periods === 8 ? WINDOW_COST : SINGLE_COST);
  const cost = (LEVEL_COST * Math.log2(size) * size) / length + windowCost;
  return { size, width, p, q, reach, periods, cost };
}

/** The cheapest grid for sequences of a length of which `bins` frequencies are kept. */
export function samplingOf(length: number, bins: number): Sampling {
  const [least, most] = OVERSAMPLING.map((ratio) => Math.max(SMALLEST, Math.ceil(ratio * bins))) as [
    number,
    number,
  ];
  const candidates: Candidate[] = [];
  for (let size = niceLength(least); candidates.length === 0 || size <= most; size = niceLength(size + 1))
    candidates.push(candidate(length, bins, size));
  const { cost: _, ...best } = candidates.reduce((a, b) => (b.cost < a.cost ? b : a));
  const { size, width, p, q, reach, periods } = best;
  return {
    ...best,
    length,
    bins,
    points: size + 2 * reach + 1,
    taps: 4 * Math.ceil((Math.floor((width * length) / size) + 1) / 4),
    firstSample: firstSampleOf(-reach, length, size, width),
    rounds: periods === 8 ? Math.max(1, Math.floor(SAMPLES_AT_ONCE / (8 * p))) : 1,
    pointsAtOnce: periods === 8 ? q : Math.min(q, POINTS_AT_ONCE),
    samplesAtOnce: periods === 8 ? p : Math.min(p, SAMPLES_AT_ONCE),
  };
}

/** Samples of a stretch in scratch memory: those of the points taken at once, or those written at once. */
export function stretchLength({
  p,
  length,
  size,
  taps,
  periods,
  rounds,
  pointsAtOnce,
  samplesAtOnce,
}: Sampling): number {
  const read = periods === 1 ? Math.ceil((pointsAtOnce * length) / size) + 1 : periods * rounds * p;
  return Math.max(read + taps, periods * rounds * samplesAtOnce) + 4;
}

/** Modified Bessel function I0. */
function besselI0(x: number): number {
  let [term, sum] = [1, 1];
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (x / (2 * n)) ** 2;
    sum += term;
  }
  return sum;
}

/** The Kaiser-Bessel window of a width for a band, and its Fourier transform at `frequency` cycles a grid point. */
function windowOf({ width, size, bins }: Sampling): {
  readonly at: (x: number) => number;
  readonly spectrum: (frequency: number) => number;
} {
  // images begin at 1 - bins / 2N cycles a point
  const beta = 0.985 * Math.PI * width * (1 - bins / (2 * size));
  const peak = besselI0(beta);
  return {
    at: (x) => {
      const inside = 1 - ((2 * x) / width) ** 2;
      return inside < 0 ? 0 : besselI0(beta * Math.sqrt(inside)) / peak;
    },
    spectrum: (frequency) => {
      const square = beta ** 2 - (Math.PI * width * frequency) ** 2;
      const root = Math.sqrt(Math.abs(square));
      const ratio = root < 1e-8 ? 1 : (square > 0 ? Math.sinh(root) : Math.sin(root)) / root;
      return (width * ratio) / peak;
    },
  };
}

/** Where frequency k lies in a spectrum of n points as transforms leave it. */
function positionOf(k: number, n: number, leaf: number): number {
  return n === leaf ? k : (k % 4) * (n / 4) + positionOf(Math.floor(k / 4), n / 4, leaf);
}

/** Bytes from the start of a table to its parts. */
export interface SamplingTable {
  /** Twiddles of the transform. */
  readonly twiddles: number;
  /** For k = 0 .. N/2: positions of frequencies k and N - k, and cos and sin of -pi k / N. */
  readonly pairs: number;
  /** For k = 0 .. N/2: what spectra of filters are multiplied by at k and at N - k. */
  readonly gains: number;
  /** For q grid points from `-reach` on: their first samples, from that of the first one on, and `taps` weights each. */
  readonly downStarts: number;
  readonly downWeights: number;
  /** For p samples: their first grid points, from `-reach` on, and `width` weights each. */
  readonly upStarts: number;
  readonly upWeights: number;
  readonly bytes: number;
}

export function samplingTable({ size, width, p, q, taps }: Sampling): SamplingTable {
  const leaf = leafOf(size)!;
  let at = 0;
  const part = (bytes: number): number => {
    const from = at;
    at += bytes;
    return from;
  };
  const pairs = size / 2 + 1;
  let twiddleBytes = 0;
  for (let n = size; n > leaf; n /= 4) twiddleBytes += (n / 4) * 24;
  return {
    twiddles: part(twiddleBytes),
    pairs: part(16 * pairs),
    gains: part(8 * pairs),
    downStarts: part(4 * q),
    downWeights: part(4 * q * taps),
    upStarts: part(4 * p),
    upWeights: part(4 * p * width),
    bytes: at,
  };
}

/** Writes the tables of a sampling. */
function fillSampling(memory: DataView, base: number, sampling: Sampling): void {
  const { length, bins, size, width, p, q, reach, taps, firstSample } = sampling;
  const table = samplingTable(sampling);
  const leaf = leafOf(size)!;
  const kernel = windowOf(sampling);
  let to = base + table.twiddles;
  const float = (value: number): void => {
    memory.setFloat32(to, value, true);
    to += 4;
  };
  const int = (value: number): void => {
    memory.setInt32(to, value, true);
    to += 4;
  };
  for (let n = size; n > leaf; n /= 4)
    for (let j = 0; j < n / 4; j++)
      for (let k = 1; k <= 3; k++) {
        float(Math.cos((2 * Math.PI * j * k) / n));
        float(-Math.sin((2 * Math.PI * j * k) / n));
      }
  to = base + table.pairs;
  for (let k = 0; k <= size / 2; k++) {
    int(positionOf(k, size, leaf));
    int(positionOf((size - k) % size, size, leaf));
    float(Math.cos((Math.PI * k) / size));
    float(-Math.sin((Math.PI * k) / size));
  }
  to = base + table.gains;
  // sums and differences of pairs are not halved, three times over
  const gain = (k: number): number =>
    k < bins ? 1 / (8 * length * kernel.spectrum(k / (2 * size)) ** 3) : 0;
  for (let k = 0; k <= size / 2; k++) {
    float(gain(k));
    float(gain(size - k));
  }
  to = base + table.downStarts;
  const starts = Array.from({ length: q }, (_, r) => firstSampleOf(r - reach, length, size, width));
  for (const s of starts) int(s - firstSample);
  to = base + table.downWeights;
  for (const [r, s] of starts.entries())
    for (let j = 0; j < taps; j++) float(kernel.at(((s + j) * size) / length - (r - reach)));
  to = base + table.upStarts;
  const points = Array.from({ length: p }, (_, t) =>
    Math.ceil((2 * t * size - width * length) / (2 * length)),
  );
  for (const m of points) int(m + reach);
  to = base + table.upWeights;
  for (const [t, m] of points.entries())
    for (let a = 0; a < width; a++) float(kernel.at((t * size) / length - m - a));
}

export const tableOf = (sampling: Sampling): WasmTable => ({
  key: `low-frequency/${sampling.length}/${sampling.size}/${sampling.bins}`,
  bytes: samplingTable(sampling).bytes,
  fill: (memory, at) => fillSampling(memory, at, sampling),
});
