// Elementary functions in float32, rounded step by step as SLEEF's 1-ulp versions with fused multiply-add (Shibata & Petrogalli
// 2020), which torch uses on CPUs: tables that an original computes in float32 come out equal to the last bit.

import type { RotaryMath } from "../layers/rotary.ts";
import type { TableMath } from "../backbones/position-table.ts";

const f = Math.fround;
// The product of two floats is exact in double; one more rounding at the end differs from a true fma in 1 of 2^29 cases.
const fma = (a: number, b: number, c: number): number => f(a * b + c);

const PI_PARTS = [3.1414794921875, 0.00011315941810607910156, 1.9841872589410058936e-9].map(f) as [
  number,
  number,
  number,
];
const SIN_COEFFICIENTS = [
  2.6083159809786593541503e-6, -0.0001981069071916863322258, 0.00833307858556509017944336,
  -0.166666597127914428710938,
].map(f) as [number, number, number, number];
/** Above this a longer reduction takes over. */
const LARGE_ANGLE = 125;

type Pair = readonly [high: number, low: number];

const addPair = ([x, xl]: Pair, y: number): Pair => {
  const s = f(x + y);
  const v = f(s - x);
  return [s, f(f(f(x - f(s - v)) + f(y - v)) + xl)];
};

/** Sine of a reduced angle given as a pair. */
function sinePolynomial([x, xl]: Pair): number {
  const [c0, c1, c2, c3] = SIN_COEFFICIENTS;
  const s = f(x * x);
  const sl = fma(f(x + x), xl, fma(x, x, -s));
  const u = fma(fma(c0, s, c1), s, c2);
  const step = f(u * s);
  const p = f(c3 + step);
  const pl = f(f(c3 - p) + step);
  const m = f(p * s);
  const ml = fma(p, sl, fma(pl, s, fma(p, s, -m)));
  const y = f(1 + m);
  const yl = f(f(f(1 - y) + m) + ml);
  return fma(x, y, fma(xl, y, f(x * yl)));
}

const rint = (x: number): number => {
  const r = Math.round(x);
  return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r;
};
const split = (x: number): Pair => [f(x), f(x - f(x))];

export function sin32(angle: number): number {
  const d = f(angle);
  const q = rint(f(d * f(1 / Math.PI)));
  const [a, b, c] = PI_PARTS;
  let reduced: Pair;
  if (Math.abs(d) < LARGE_ANGLE) {
    const head = addPair([fma(q, -a, d), 0], f(q * -b));
    const s = f(head[0] + f(q * -c));
    reduced = [s, f(f(f(head[0] - s) + f(q * -c)) + head[1])];
  } else reduced = split(d - q * Math.PI);
  const y = sinePolynomial(reduced);
  return q % 2 === 0 ? y : f(-y);
}

export function cos32(angle: number): number {
  const d = f(angle);
  const q = 2 * rint(fma(d, f(1 / Math.PI), -0.5)) + 1;
  const [a, b, c] = PI_PARTS.map((p) => f(-p / 2)) as [number, number, number];
  const reduced =
    Math.abs(d) < LARGE_ANGLE
      ? addPair(addPair(addPair([d, 0], f(q * a)), f(q * b)), f(q * c))
      : split(d - (q * Math.PI) / 2);
  const y = sinePolynomial(reduced);
  return (q & 2) === 0 ? f(-y) : y;
}

const EXP_COEFFICIENTS = [
  0.000198527617612853646278381, 0.00139304355252534151077271, 0.00833336077630519866943359,
  0.0416664853692054748535156, 0.166666671633720397949219, 0.5,
].map(f);

export function exp32(x: number): number {
  const d = f(x);
  const q = rint(f(d * f(Math.LOG2E)));
  let s = fma(q, f(-0.693145751953125), d);
  s = fma(q, f(-1.428606765330187045e-6), s);
  const u = EXP_COEFFICIENTS.reduce((value, c, i) => (i === 0 ? c : fma(value, s, c)), 0);
  return f(f(1 + fma(f(s * s), u, s)) * 2 ** q);
}

/** Rotary tables as flash-attention makes them. */
export const rotaryFloat32: RotaryMath = {
  frequency: (base, exponent) => f(1 / f(base ** f(exponent))),
  angle: (position, frequency) => f(position * frequency),
  cos: cos32,
  sin: sin32,
  scale: (feature, dim) => f(f(feature + f(0.4 * dim)) / f(1.4 * dim)),
};

/** Sine tables as mad-lab makes them. */
export const tableFloat32: TableMath = {
  rate: (index, half) => exp32(f(index * f(-Math.log(10_000) / (half - 1)))),
  angle: (position, rate) => f(position * rate),
  sin: sin32,
  cos: cos32,
};
