// Complex DFTs of any length: in one block up to 8,192 points (4,096 where a block has less shared memory), in two steps (N = N1 N2, Bailey
// 1990) beyond, and by Bluestein's chirp transform where a prime factor is larger than 13. The inverse exchanges real and imaginary parts
// before and after.

import type { PrimitiveParams } from "@everlong/core";
import {
  blocksFor,
  type CudaSource,
  type CudaStep,
  type CudaTable,
  type CudaTarget,
  type CudaWord,
} from "@everlong/kernels/cuda";
import { elementCount } from "../space.ts";
import { chirpSource, FFT_THREADS, fftSource, MAX_FACTORS } from "./fft-kernel.ts";

/** Two buffers of complex f32. */
const BYTES_PER_POINT = 16;
/** Shared memory of a block, where the GPU has as much: lines of 8,192 points. */
const SHARED = 8192 * BYTES_PER_POINT;
const RADICES = [4, 2, 3, 5, 7, 11, 13];

const sharedOf = (target: CudaTarget): number => Math.min(SHARED, target.sharedLimit);

/** Longest line of one block: a power of two. */
const longestLine = (shared: number): number => 2 ** Math.floor(Math.log2(shared / BYTES_PER_POINT));

/** The radices of a length, or undefined when a larger prime divides it. */
export function factorsOf(n: number): number[] | undefined {
  const out: number[] = [];
  let rest = n;
  for (const r of RADICES) for (; rest % r === 0 && rest > 1; rest /= r) out.push(r);
  return rest === 1 ? out : undefined;
}

/** exp(-2 pi i k / n), k = 0 .. n-1. */
const turns = (n: number): CudaTable => ({
  key: `turns ${n}`,
  bytes: 8 * n,
  fill: (memory) => {
    for (let k = 0; k < n; k++) {
      const angle = (-2 * Math.PI * k) / n;
      memory.setFloat32(8 * k, Math.cos(angle), true);
      memory.setFloat32(8 * k + 4, Math.sin(angle), true);
    }
  },
});

interface Place {
  readonly re: CudaWord;
  readonly im: CudaWord;
}

interface Walk {
  readonly outer: number;
  readonly line: number;
  readonly step: number;
}

interface Pass {
  readonly from: Place;
  readonly to: Place;
  readonly n: number;
  readonly factors: readonly number[];
  readonly lines: number;
  /** Lines per outer index. */
  readonly perOuter: number;
  readonly input: Walk;
  readonly output: Walk;
  /** Multiplies element e of line l by exp(-2 pi i l e / twist); 0: not. */
  readonly twist: number;
}

function passStep(
  { from, to, n, factors, lines, perOuter, input, output, twist }: Pass,
  shared: number,
): CudaStep {
  // Several lines a block where lines lie side by side, or are short.
  const wanted = input.line === 1 || output.line === 1 ? 8 : Math.max(1, Math.floor(1024 / n));
  const each = Math.max(1, Math.min(wanted, lines, Math.floor(shared / (BYTES_PER_POINT * n))));
  return {
    kernel: { key: "fft", entry: "fft", source: fftSource },
    args: [
      from.re,
      from.im,
      to.re,
      to.im,
      { table: 0 },
      n,
      lines,
      each,
      perOuter,
      input.outer,
      input.line,
      input.step,
      output.outer,
      output.line,
      output.step,
      twist,
      ...factors,
      ...Array.from<number>({ length: MAX_FACTORS - factors.length }).fill(0),
    ],
    grid: [blocksFor(lines, each), 1, 1],
    block: [FFT_THREADS, 1, 1],
    sharedBytes: BYTES_PER_POINT * n * each,
    tables: [turns(n)],
  };
}

/** N1 and N2 of a long smooth length, as equal as its factors allow. */
function splitLength(n: number, longest: number): [number, number] | undefined {
  for (let a = Math.floor(Math.sqrt(n)); a > 1; a--) {
    if (n % a === 0) return n / a <= longest && factorsOf(a) && factorsOf(n / a) ? [a, n / a] : undefined;
  }
  return undefined;
}

/** Transforms of `lines` contiguous lines of a smooth length; `temp` is free space of as many elements. */
function smoothSteps(
  from: Place,
  to: Place,
  temp: Place,
  n: number,
  lines: number,
  shared: number,
): CudaStep[] | undefined {
  const factors = factorsOf(n);
  if (!factors) return undefined;
  if (n <= longestLine(shared)) {
    const walk = { outer: 0, line: n, step: 1 };
    const pass = { from, to, n, factors, lines, perOuter: lines, input: walk, output: walk, twist: 0 };
    return [passStep(pass, shared)];
  }
  const split = splitLength(n, longestLine(shared));
  if (!split) return undefined;
  const [n1, n2] = split;
  const passes: Pass[] = [
    // Columns: element (i1, i2) at i1 N2 + i2 becomes (k1, i2) at the same place.
    {
      from,
      to: temp,
      n: n1,
      factors: factorsOf(n1)!,
      lines: lines * n2,
      perOuter: n2,
      input: { outer: n, line: 1, step: n2 },
      output: { outer: n, line: 1, step: n2 },
      twist: n,
    },
    // Rows: (k1, k2) goes to k1 + N1 k2.
    {
      from: temp,
      to,
      n: n2,
      factors: factorsOf(n2)!,
      lines: lines * n1,
      perOuter: n1,
      input: { outer: n, line: n2, step: 1 },
      output: { outer: n, line: 1, step: n1 },
      twist: 0,
    },
  ];
  return passes.map((pass) => passStep(pass, shared));
}

/** exp(-pi i k^2 / n). */
const chirpAt = (n: number, k: number): [number, number] => {
  // k^2 modulo 2n stays exact.
  const angle = (-Math.PI * Number((BigInt(k) * BigInt(k)) % BigInt(2 * n))) / n;
  return [Math.cos(angle), Math.sin(angle)];
};

const chirpTable = (n: number): CudaTable => ({
  key: `chirp ${n}`,
  bytes: 8 * n,
  fill: (memory) => {
    for (let k = 0; k < n; k++) {
      const [re, im] = chirpAt(n, k);
      memory.setFloat32(8 * k, re, true);
      memory.setFloat32(8 * k + 4, im, true);
    }
  },
});

/** Spectrum of the conjugate chirp at length m, divided by m. */
const chirpSpectrum = (n: number, m: number): CudaTable => ({
  key: `chirp spectrum ${n} ${m}`,
  bytes: 8 * m,
  fill: (memory) => {
    const re = new Float64Array(m);
    const im = new Float64Array(m);
    for (let k = 0; k < n; k++) {
      const [c, s] = chirpAt(n, k);
      re[k] = re[(m - k) % m] = c / m;
      im[k] = im[(m - k) % m] = -s / m;
    }
    powerOfTwoFourier(re, im);
    for (let k = 0; k < m; k++) {
      memory.setFloat32(8 * k, re[k]!, true);
      memory.setFloat32(8 * k + 4, im[k]!, true);
    }
  },
});

/** A plain radix-2 transform in place, for tables. */
function powerOfTwoFourier(re: Float64Array, im: Float64Array): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j]!, re[i]!];
      [im[i], im[j]] = [im[j]!, im[i]!];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const c = Math.cos((-2 * Math.PI * k) / size);
      const s = Math.sin((-2 * Math.PI * k) / size);
      for (let i = k; i < n; i += size) {
        const [a, b] = [re[i + half]! * c - im[i + half]! * s, re[i + half]! * s + im[i + half]! * c];
        [re[i + half], im[i + half]] = [re[i]! - a, im[i]! - b];
        re[i]! += a;
        im[i]! += b;
      }
    }
  }
}

const chirpStep = (
  from: Place,
  to: Place,
  table: CudaTable,
  nIn: number,
  nOut: number,
  lines: number,
): CudaStep => ({
  kernel: { key: "fft chirp", entry: "chirp", source: chirpSource },
  args: [from.re, from.im, to.re, to.im, { table: 0 }, nIn, nOut, lines * nOut],
  grid: [blocksFor(lines * nOut, 256), 1, 1],
  block: [256, 1, 1],
  tables: [table],
});

const temps = (index: number): Place => ({ re: { temp: index }, im: { temp: index + 1 } });

/** Takes the first `n` of every `m` elements. */
const cutSource = (): string => `
extern "C" __global__ void __launch_bounds__(256) chirp_end(const __grid_constant__ Words<8> w) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x, m = wide(w, 5), n = wide(w, 6);
  if (i >= wide(w, 7)) return;
  const i64 line = i / n, e = i % n;
  // The second transform ran forward on exchanged parts, which makes it the inverse one.
  const float a = pointer<const float>(w, 0)[line * m + e], b = pointer<const float>(w, 1)[line * m + e];
  const float c = pointer<const float>(w, 4)[2 * e], d = pointer<const float>(w, 4)[2 * e + 1];
  pointer<float>(w, 2)[i] = a * c - b * d;
  pointer<float>(w, 3)[i] = a * d + b * c;
}`;

/** Complex DFT over the last axis, unscaled. */
export const fft: CudaSource<PrimitiveParams["fft"]> = {
  lower: ({ outputs, params }, target) => {
    const shared = sharedOf(target);
    const longest = longestLine(shared);
    const { shape } = outputs[0]!;
    const total = elementCount(shape);
    if (total === 0) return { steps: [] };
    const n = shape[shape.length - 1]!;
    const lines = total / n;
    const swap = (p: Place): Place => (params.inverse ? { re: p.im, im: p.re } : p);
    const from = swap({ re: { input: 0 }, im: { input: 1 } });
    const to = swap({ re: { output: 0 }, im: { output: 1 } });
    const direct = smoothSteps(from, to, temps(0), n, lines, shared);
    if (direct) return { steps: direct, temps: n <= longest ? [] : [4 * total, 4 * total] };
    const m = 2 ** Math.ceil(Math.log2(2 * n - 1));
    const [a, b, c] = [temps(0), temps(2), temps(4)];
    const exchanged = (p: Place): Place => ({ re: p.im, im: p.re });
    const forward = smoothSteps(a, b, c, m, lines, shared);
    const back = smoothSteps(exchanged(a), exchanged(b), c, m, lines, shared);
    if (!forward || !back) return `no transform of length ${n}`;
    const wide = 4 * lines * m;
    return {
      steps: [
        chirpStep(from, a, chirpTable(n), n, m, lines),
        ...forward,
        chirpStep(b, a, chirpSpectrum(n, m), m, m, lines),
        ...back,
        {
          kernel: { key: "fft chirp end", entry: "chirp_end", source: cutSource },
          args: [b.re, b.im, to.re, to.im, { table: 0 }, m, n, lines * n],
          grid: [blocksFor(lines * n, 256), 1, 1],
          block: [256, 1, 1],
          tables: [chirpTable(n)],
        },
      ],
      temps: [wide, wide, wide, wide, ...(m > longest ? [wide, wide] : [])],
    };
  },
};
