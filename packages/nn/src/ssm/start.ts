// Where state spaces start: modes, input vectors and low-rank vectors by name, in float64 on the host.

import { ConfigError } from "@everlong/core";
import { HIPPO_MEASURES, hippoNplr, type ComplexRow, type HippoMeasure } from "./hippo.ts";

export const SSM_STARTS = [
  "diag-lin",
  "diag-inv",
  "diag-inv2",
  "diag-quad",
  "diag-real",
  "diag-legs",
  "diag-rand",
  "diag",
  "legs",
  "legt",
  "fourier",
  "hippo",
  "all",
] as const;
/**
 * Names of starts. `diag-*` set the modes `-1/2 - i w_n`: w = pi n (`lin`), `N/pi (N/(2n+1) - 1)` (`inv`), `N/pi (N/(n+1) - 1)`
 * (`inv2`), `(2n+1)^2/pi` (`quad`), the frequencies of HiPPO-LegS (`legs`), log-normal (`rand`); `diag-real` has modes
 * `-(n+1)`. `legs`, `legt`, `fourier` are HiPPO operators with their low-rank part. Combinations over equal parts of the
 * copies: `diag` (inv, lin), `hippo` (legs, fourier), `all` (legs, fourier, diag-inv, diag-lin).
 */
export type SsmStart = (typeof SSM_STARTS)[number];

export const INPUT_STARTS = ["constant", "alternating", "random", "unit-cw", "unit-ccw"] as const;
/** First input vectors of diagonal starts: ones, signs in turn, complex normals, or steps around the unit circle. */
export type InputStart = (typeof INPUT_STARTS)[number];

const COMBINATIONS: Readonly<Record<string, readonly string[]>> = {
  diag: ["diag-inv", "diag-lin"],
  hippo: ["legs", "fourier"],
  all: ["legs", "fourier", "diag-inv", "diag-lin"],
};

export interface StartOptions {
  readonly start: SsmStart;
  /** State size N; N/2 modes. */
  readonly stateSize: number;
  /** Independent copies S. */
  readonly copies: number;
  /** Rank R of the low-rank part. */
  readonly rank: number;
  readonly input: InputStart;
  /** Scales input vectors so that a random read-out of a constant input has unit variance. */
  readonly normalize: boolean;
  /**
   * As the original: HiPPO's input vectors cut at imaginary parts of +-2, and not halved in `diag-legs`, as the paper has
   * them.
   */
  readonly compat: boolean;
}

/** One copy: modes, input vector, low-rank vectors. */
export interface StartedCopy {
  readonly a: ComplexRow;
  readonly b: ComplexRow;
  readonly p: readonly ComplexRow[];
}

/** All copies of a start. @throws ConfigError */
export function startSsm(options: StartOptions): StartedCopy[] {
  const names = COMBINATIONS[options.start] ?? [options.start];
  if (!SSM_STARTS.includes(options.start))
    throw new ConfigError("ssm", `unknown start "${options.start}"`, { expected: SSM_STARTS.join(", ") });
  if (options.copies % names.length !== 0)
    throw new ConfigError("ssm", `start "${options.start}" has ${names.length} parts`, {
      expected: `a multiple of ${names.length} copies`,
      got: `${options.copies}`,
    });
  const each = options.copies / names.length;
  return names.flatMap((name) => {
    const measure = HIPPO_MEASURES.find((m) => m === name);
    if (measure) {
      const one = hippoCopy(measure, options);
      return Array.from({ length: each }, () => one);
    }
    return Array.from({ length: each }, () => diagonalCopy(name.replace("diag-", ""), options));
  });
}

function hippoCopy(measure: HippoMeasure, options: StartOptions): StartedCopy {
  const { w, p, b } = hippoNplr(measure, options.stateSize, options.rank, options.compat);
  return { a: w, b: options.compat ? clipped(b) : b, p };
}

const clipped = (b: ComplexRow): ComplexRow => ({
  re: b.re,
  im: b.im.map((x) => Math.min(2, Math.max(-2, x))),
});

function diagonalCopy(name: string, options: StartOptions): StartedCopy {
  const { stateSize, rank } = options;
  const modes = stateSize / 2;
  const row = (fn: (n: number) => number): Float64Array =>
    Float64Array.from({ length: modes }, (_, n) => fn(n));
  const zero = (): ComplexRow => ({ re: new Float64Array(modes), im: new Float64Array(modes) });
  const p = Array.from({ length: rank }, zero);
  if (name === "legs") {
    const legs = hippoNplr("legs", stateSize);
    const half = (x: Float64Array): Float64Array => x.map((v) => 0.5 * v);
    const b = options.compat ? clipped(legs.b) : { re: half(legs.b.re), im: half(legs.b.im) };
    const a = { re: row(() => -0.5), im: legs.w.im };
    return { a, b: options.normalize ? normalized(a, b) : b, p };
  }
  const frequency: Readonly<Record<string, (n: number) => number>> = {
    lin: (n) => Math.PI * n,
    inv: (n) => (stateSize / Math.PI) * (stateSize / (1 + 2 * n) - 1),
    inv2: (n) => (stateSize / Math.PI) * (stateSize / (1 + n) - 1),
    quad: (n) => (1 + 2 * n) ** 2 / Math.PI,
    // Drawn by the kernel, under its key.
    rand: () => 0,
    real: () => 0,
  };
  const a = {
    re: row((n) => (name === "real" ? -(n + 1) : -0.5)),
    im: row((n) => -frequency[name]!(n)),
  };
  const turn = options.input === "unit-cw" ? -1 : 1;
  const angle = (n: number): number => (turn * 2 * Math.PI * n) / stateSize;
  const input: Readonly<Record<InputStart, () => ComplexRow>> = {
    constant: () => ({ re: row(() => 1), im: row(() => 0) }),
    alternating: () => ({ re: row((n) => (n % 2 === 0 ? 1 : -1)), im: row(() => 0) }),
    // Drawn by the kernel, under its key.
    random: () => ({ re: row(() => 1), im: row(() => 0) }),
    "unit-cw": () => ({ re: row((n) => Math.cos(angle(n))), im: row((n) => Math.sin(angle(n))) }),
    "unit-ccw": () => ({ re: row((n) => Math.cos(angle(n))), im: row((n) => Math.sin(angle(n))) }),
  };
  const b = input[options.input]();
  return { a, b: options.normalize ? normalized(a, b) : b, p };
}

/** `b / sqrt(2 sum |b/a|^2)`. */
function normalized(a: ComplexRow, b: ComplexRow): ComplexRow {
  let total = 0;
  for (let n = 0; n < a.re.length; n++)
    total += (2 * (b.re[n]! ** 2 + b.im[n]! ** 2)) / (a.re[n]! ** 2 + a.im[n]! ** 2);
  const scale = 1 / Math.sqrt(total);
  return { re: b.re.map((x) => x * scale), im: b.im.map((x) => x * scale) };
}
