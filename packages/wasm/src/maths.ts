// Elementary functions on float32 lanes, made only from operations that the revectorizer pairs (no rounding instructions: those
// pair in newer engines only). Errors are stated in units in the last place and checked against float64 in the tests.

import type { FunctionBuilder } from "./function-builder.ts";
import type { Vec } from "./values.ts";

/** Emits a function of one vector. */
export type VecFunction = (f: FunctionBuilder, x: Vec) => Vec;

const SIGN = -0x80000000;
const INF_BITS = 0x7f800000;
/** Adding and subtracting it rounds a number below 2^22 in size to the nearest integer, ties to even. */
const ROUNDER = 12582912;
// ln 2 in two parts; the first has 10 bits, so that its product with an exponent is exact (Cephes, S. L. Moshier).
const LN2_HIGH = 0.693359375;
const LN2_LOW = -2.1219444e-4;

function polynomial(f: FunctionBuilder, x: Vec, coefficients: readonly number[]): Vec {
  let sum: Vec | undefined;
  for (const c of [...coefficients].reverse())
    sum = sum ? f.f32x4.madd(sum, x, c) : f.f32x4.constant(c, x.parts.length);
  return sum!;
}

const signOf = (f: FunctionBuilder, x: Vec): Vec => f.v128.and(x, SIGN);
const infinite = (f: FunctionBuilder, x: Vec): Vec => f.i32x4.constant(INF_BITS, x.parts.length);
const notANumber = (f: FunctionBuilder, x: Vec): Vec => f.i32x4.constant(0x7fc00000, x.parts.length);

/** x = n ln 2 + r with |r| <= ln(2) / 2; n as float and as int32 lanes. */
function reduceByLn2(f: FunctionBuilder, x: Vec): { n: Vec; whole: Vec; r: Vec } {
  const shifted = f.f32x4.madd(x, Math.LOG2E, ROUNDER);
  const n = f.f32x4.sub(shifted, ROUNDER);
  const whole = f.i32x4.sub(shifted, f.f32x4.constant(ROUNDER, x.parts.length));
  const r = f.f32x4.nmadd(n, LN2_LOW, f.f32x4.nmadd(n, LN2_HIGH, x));
  return { n, whole, r };
}

/** 2^n for int32 lanes -126 <= n <= 127. */
const powerOfTwo = (f: FunctionBuilder, n: Vec): Vec => f.i32x4.shl(f.i32x4.add(n, 127), 23);

/** y * 2^n for -252 <= n <= 254, in two steps so that subnormal results are right. */
function scale(f: FunctionBuilder, y: Vec, n: Vec): Vec {
  const half = f.i32x4.shrS(n, 1);
  return f.f32x4.mul(f.f32x4.mul(y, powerOfTwo(f, half)), powerOfTwo(f, f.i32x4.sub(n, half)));
}

// Keeps NaN: pmin and pmax give their first operand where the comparison fails.
const clamp = (f: FunctionBuilder, x: Vec, low: number, high: number): Vec =>
  f.f32x4.pmax(f.f32x4.pmin(x, high), low);

// (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2, minimax.
const EXP_TAIL = [
  0.5, 0.1666666716337204, 0.04166625440120697, 0.008333262987434864, 0.0013947212137281895,
  0.00019919360056519508,
];

/** e^x, 1.5 ulp, subnormal results included. */
export const exp: VecFunction = (f, x) => {
  const { whole, r } = reduceByLn2(f, clamp(f, x, -105, 89));
  const tail = f.f32x4.mul(f.f32x4.mul(r, r), polynomial(f, r, EXP_TAIL));
  return scale(f, f.f32x4.add(f.f32x4.add(tail, r), 1), whole);
};

/** e^x - 1, 2.5 ulp also near 0. */
export const expm1: VecFunction = (f, x) => {
  const { whole, r } = reduceByLn2(f, clamp(f, x, -25, 89));
  const p = f.f32x4.madd(f.f32x4.mul(r, r), polynomial(f, r, EXP_TAIL), r);
  // half scale, so that n = 128 does not overflow early
  const s = powerOfTwo(f, f.i32x4.sub(whole, 1));
  const half = f.f32x4.madd(s, p, f.f32x4.sub(s, 0.5));
  return f.v128.or(f.f32x4.add(half, half), signOf(f, x));
};

/** Splits positive x = m 2^e with sqrt(1/2) <= m < sqrt(2); subnormals included. Gives m - 1 and e. */
function splitExponent(f: FunctionBuilder, x: Vec): { f1: Vec; e: Vec } {
  const tiny = f.f32x4.lt(x, 2 ** -126);
  const normal = f.v128.select(tiny, f.f32x4.mul(x, 2 ** 25), x);
  // bits above those of sqrt(1/2) count the exponent
  const above = f.i32x4.sub(normal, 0x3f3504f3);
  const count = f.i32x4.shrS(above, 23);
  const m = f.i32x4.sub(normal, f.i32x4.shl(count, 23));
  const e = f.f32x4.sub(f.f32x4.convertI32x4S(count), f.v128.and(tiny, f.f32x4.constant(25, x.parts.length)));
  return { f1: f.f32x4.sub(m, 1), e };
}

// log(1 + f) = f - f^2 / 2 + f^3 P(f) (Cephes logf).
const LOG_TAIL = [
  3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1, -1.2420140846e-1,
  1.167699874e-1, -1.151461031e-1, 7.0376836292e-2,
];

/** Natural logarithm, 1.5 ulp; log 0 = -Infinity, negative x gives NaN. */
export const log: VecFunction = (f, x) => {
  const { f1, e } = splitExponent(f, x);
  const z = f.f32x4.mul(f1, f1);
  let y = f.f32x4.mul(f.f32x4.mul(f1, z), polynomial(f, f1, LOG_TAIL));
  y = f.f32x4.madd(e, LN2_LOW, y);
  y = f.f32x4.nmadd(z, 0.5, y);
  y = f.f32x4.madd(e, LN2_HIGH, f.f32x4.add(f1, y));
  // x = +inf and NaN pass through, 0 and negatives get their values
  y = f.v128.select(f.f32x4.lt(x, Infinity), y, x);
  y = f.v128.select(f.f32x4.eq(x, 0), f.v128.or(infinite(f, x), SIGN), y);
  return f.v128.select(f.f32x4.lt(x, 0), notANumber(f, x), y);
};

/** log(1 + x), 2.5 ulp also near 0. */
export const log1p: VecFunction = (f, x) => {
  const u = f.f32x4.add(x, 1);
  // what rounding u lost, divided by u; u is 1 + x to first order (W. Kahan)
  const lost = f.f32x4.sub(x, f.f32x4.sub(u, 1));
  const y = f.f32x4.add(log(f, u), f.f32x4.div(lost, u));
  // x = -1 and x = +inf, where the correction is 0 / 0 or inf - inf
  const plain = f.v128.or(f.f32x4.eq(u, 0), f.f32x4.eq(x, Infinity));
  return f.v128.or(f.v128.select(plain, log(f, u), y), signOf(f, x));
};

// pi / 2 in parts. With fused multiply-add three full floats do; without it, parts of 8 bits keep the products exact for
// quotients below 2^16.
const HALF_PI_FUSED = [1.57079637050628662109375, -4.371138828673793e-8, -1.7151245100058819e-15];
const HALF_PI_SPLIT = [
  1.5703125, 0.0004825592041015625, 1.2665987014770508e-6, 9.89530235528946e-10, 2.5633440682570896e-12,
];

function sineOfShifted(f: FunctionBuilder, x: Vec, quarters: number): Vec {
  const magnitude = f.v128.andnot(x, f.i32x4.constant(SIGN, x.parts.length));
  const shifted = f.f32x4.madd(magnitude, 2 / Math.PI, ROUNDER);
  const n = f.f32x4.sub(shifted, ROUNDER);
  let r = magnitude;
  for (const part of f.target.relaxed ? HALF_PI_FUSED : HALF_PI_SPLIT) r = f.f32x4.nmadd(n, part, r);
  r = clamp(f, r, -0.83, 0.83);
  const quadrant = quarters === 0 ? shifted : f.i32x4.add(shifted, quarters);
  const z = f.f32x4.mul(r, r);
  const sinTail = f.f32x4.mul(
    f.f32x4.mul(z, r),
    polynomial(f, z, [-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4]),
  );
  const sin = f.f32x4.add(r, sinTail);
  const cosTail = polynomial(f, z, [4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5]);
  const cos = f.f32x4.madd(f.f32x4.mul(z, z), cosTail, f.f32x4.nmadd(z, 0.5, 1));
  const odd = f.i32x4.shrS(f.i32x4.shl(quadrant, 31), 31);
  const flip = f.i32x4.shl(f.i32x4.shrU(quadrant, 1), 31);
  const value = f.v128.xor(f.v128.select(odd, cos, sin), flip);
  return quarters === 0 ? f.v128.xor(value, signOf(f, x)) : value;
}

/**
 * Sine of radians. 2 ulp for |x| <= 5e5 with fused multiply-add (4 ulp up to 1e5 without), relative also where the sine is near 0; beyond
 * that range the argument reduction loses its digits and the result only stays within [-1, 1].
 */
export const sin: VecFunction = (f, x) => sineOfShifted(f, x, 0);

/** Cosine of radians; range and accuracy as {@link sin}. */
export const cos: VecFunction = (f, x) => sineOfShifted(f, x, 1);

/** Hyperbolic tangent, 3 ulp. */
export const tanh: VecFunction = (f, x) => {
  const magnitude = f.v128.andnot(x, f.i32x4.constant(SIGN, x.parts.length));
  const t = expm1(f, f.f32x4.mul(magnitude, -2));
  const y = f.f32x4.div(t, f.f32x4.add(t, 2));
  // t <= 0 here, so y carries a minus sign to be replaced by that of x
  return f.v128.or(f.v128.andnot(y, f.i32x4.constant(SIGN, x.parts.length)), signOf(f, x));
};

/** 1 / (1 + e^-x), 2.5 ulp, subnormal results included. */
export const sigmoid: VecFunction = (f, x) => {
  const t = exp(f, f.v128.or(x, SIGN));
  const numerator = f.v128.select(f.f32x4.lt(x, 0), t, 1);
  return f.f32x4.div(numerator, f.f32x4.add(t, 1));
};

/** log(1 + e^x), 3 ulp. */
export const softplus: VecFunction = (f, x) => {
  const t = exp(f, f.v128.or(x, SIGN));
  return f.f32x4.add(f.f32x4.pmax(x, 0), log1p(f, t));
};

// erf(x) / x in x^2 on |x| <= 1, and log(erfc(|x|)) on 1 <= |x| <= 4, minimax.
const ERF_NEAR = [
  1.1283791065216064, -0.3761262595653534, 0.11283600330352783, -0.026854444295167923, 0.005189535208046436,
  -0.0008020841050893068, 0.00007889119297033176,
];
const ERFC_LOG = [
  -0.00034151258296333253, -1.127089262008667, -0.6381447315216064, -0.10310681909322739,
  0.021838096901774406, -0.0029476669151335955, 0.0001863800862338394,
];

/** Gauss error function, 2.5 ulp. */
export const erf: VecFunction = (f, x) => {
  const magnitude = f.v128.andnot(x, f.i32x4.constant(SIGN, x.parts.length));
  const near = f.f32x4.mul(x, polynomial(f, f.f32x4.mul(x, x), ERF_NEAR));
  const tail = exp(f, polynomial(f, f.f32x4.pmin(magnitude, 4), ERFC_LOG));
  const far = f.v128.or(f.f32x4.sub(f.constant(1, "f32x4", x.parts.length), tail), signOf(f, x));
  return f.v128.select(f.f32x4.gt(magnitude, 1), far, near);
};

/** x * Phi(x) with the normal distribution function, by {@link erf}. */
export const gelu: VecFunction = (f, x) => {
  const half = f.f32x4.mul(x, 0.5);
  return f.f32x4.madd(half, erf(f, f.f32x4.mul(x, Math.SQRT1_2)), half);
};

/** The tanh approximation of GELU: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
export const geluTanh: VecFunction = (f, x) => {
  const cubic = f.f32x4.madd(f.f32x4.mul(x, x), 0.044715, 1);
  // x / 2 (1 + tanh(u)) = x sigmoid(2 u), which does not cancel for negative x
  return f.f32x4.mul(x, sigmoid(f, f.f32x4.mul(f.f32x4.mul(x, cubic), 2 * Math.sqrt(2 / Math.PI))));
};

/** x / (1 + e^-x). */
export const silu: VecFunction = (f, x) => f.f32x4.mul(x, sigmoid(f, x));

/** max(x, 0); NaN stays NaN. */
export const relu: VecFunction = (f, x) => f.f32x4.pmax(x, 0);

// Whole part of |x| < 2^23; larger numbers, inf and NaN are whole already.
function roundWith(f: FunctionBuilder, x: Vec, adjust: (whole: Vec) => Vec): Vec {
  const magnitude = f.v128.andnot(x, f.i32x4.constant(SIGN, x.parts.length));
  const y = adjust(f.f32x4.convertI32x4S(f.i32x4.truncSatF32x4S(x)));
  return f.v128.select(f.f32x4.lt(magnitude, 8388608), f.v128.or(y, signOf(f, x)), x);
}

/** Rounds towards zero. */
export const trunc: VecFunction = (f, x) => roundWith(f, x, (whole) => whole);

/** Rounds down. */
export const floor: VecFunction = (f, x) =>
  roundWith(f, x, (whole) =>
    f.f32x4.sub(whole, f.v128.and(f.f32x4.gt(whole, x), f.f32x4.constant(1, x.parts.length))),
  );

/** Rounds up. */
export const ceil: VecFunction = (f, x) =>
  roundWith(f, x, (whole) =>
    f.f32x4.add(whole, f.v128.and(f.f32x4.lt(whole, x), f.f32x4.constant(1, x.parts.length))),
  );

/** Rounds to the nearest integer, ties to even. */
export const round: VecFunction = (f, x) => {
  const magnitude = f.v128.andnot(x, f.i32x4.constant(SIGN, x.parts.length));
  const y = f.f32x4.sub(f.f32x4.add(magnitude, 8388608), 8388608);
  return f.v128.select(f.f32x4.lt(magnitude, 8388608), f.v128.or(y, signOf(f, x)), x);
};

interface Double {
  readonly high: Vec;
  readonly low: Vec;
}

/** a * b without rounding, as a sum of two floats (T. J. Dekker where there is no fused multiply-add). */
function product(f: FunctionBuilder, a: Vec, b: Vec): Double {
  const high = f.f32x4.mul(a, b);
  if (f.target.relaxed) return { high, low: f.f32x4.madd(a, b, f.f32x4.neg(high)) };
  const split = (x: Vec): [Vec, Vec] => {
    const big = f.f32x4.mul(x, 4097);
    const top = f.f32x4.sub(big, f.f32x4.sub(big, x));
    return [top, f.f32x4.sub(x, top)];
  };
  const [a1, a2] = split(a);
  const [b1, b2] = split(b);
  let low = f.f32x4.sub(f.f32x4.mul(a1, b1), high);
  low = f.f32x4.add(f.f32x4.add(low, f.f32x4.mul(a1, b2)), f.f32x4.mul(a2, b1));
  return { high, low: f.f32x4.add(low, f.f32x4.mul(a2, b2)) };
}

/** a + b without rounding, for |a| >= |b| or a = 0. */
function quickSum(f: FunctionBuilder, a: Vec, b: Vec): Double {
  const high = f.f32x4.add(a, b);
  return { high, low: f.f32x4.sub(b, f.f32x4.sub(high, a)) };
}

// (atanh(s) / s - 1) / s^2 in s^2, and (2^r - 1) / r in r on |r| <= 1/2, minimax.
const ATANH_TAIL = [0.3333333134651184, 0.2000017762184143, 0.14267945289611816, 0.11805263161659241];
const EXP2_TAIL = [
  0.6931471824645996, 0.24022650718688965, 0.05550320819020271, 0.009617995470762253, 0.0013402980985119939,
  0.00015478854766115546,
];
const TWO_LOG2E_HIGH = 2.885390043258667;
const TWO_LOG2E_LOW = 3.851926067e-8;

/** log2 of positive x as a sum of two floats, relative error about 2^-31. */
function log2Double(f: FunctionBuilder, x: Vec): Double {
  const { f1, e } = splitExponent(f, x);
  // m = (1 + s) / (1 - s), s = f1 / (f1 + 2) to twice the precision
  const denominator = f.f32x4.add(f1, 2);
  const denominatorLow = f.f32x4.sub(f1, f.f32x4.sub(denominator, 2));
  const s = f.f32x4.div(f1, denominator);
  const back = product(f, s, denominator);
  const rest = f.f32x4.nmadd(s, denominatorLow, f.f32x4.sub(f.f32x4.sub(f1, back.high), back.low));
  const sLow = f.f32x4.div(rest, denominator);
  const z = f.f32x4.mul(s, s);
  const tail = f.f32x4.madd(f.f32x4.mul(s, z), polynomial(f, z, ATANH_TAIL), sLow);
  const scaled = product(f, s, f.constant(TWO_LOG2E_HIGH, "f32x4", x.parts.length));
  let low = f.f32x4.madd(s, TWO_LOG2E_LOW, scaled.low);
  low = f.f32x4.madd(tail, TWO_LOG2E_HIGH, low);
  const sum = quickSum(f, e, scaled.high);
  return quickSum(f, sum.high, f.f32x4.add(sum.low, low));
}

/**
 * x^y by IEEE 754: 2 ulp; x^0 = 1^y = 1 also for NaN, negative x with whole y keep their sign, with other y give NaN.
 */
export const pow: (f: FunctionBuilder, x: Vec, y: Vec) => Vec = (f, x, y) => {
  const parts = x.parts.length;
  const sign = f.i32x4.constant(SIGN, parts);
  const one = f.f32x4.constant(1, parts);
  const base = f.v128.andnot(x, sign);
  const logarithm = log2Double(f, base);
  // beyond 2^40 every base other than 1 has overflowed or vanished already
  const power = clamp(f, y, -(2 ** 40), 2 ** 40);
  const p = product(f, power, logarithm.high);
  const high = clamp(f, p.high, -160, 140);
  const low = clamp(f, f.f32x4.madd(power, logarithm.low, p.low), -1, 1);
  const shifted = f.f32x4.add(high, ROUNDER);
  const r = f.f32x4.add(f.f32x4.sub(high, f.f32x4.sub(shifted, ROUNDER)), low);
  const whole = f.i32x4.sub(shifted, f.f32x4.constant(ROUNDER, parts));
  let result = scale(f, f.f32x4.madd(r, polynomial(f, r, EXP2_TAIL), one), whole);

  const isInfinite = f.f32x4.eq(base, Infinity);
  const isZero = f.f32x4.eq(base, 0);
  const extreme = f.v128.or(isInfinite, isZero);
  const grows = f.v128.xor(isZero, f.f32x4.gt(y, 0));
  result = f.v128.select(extreme, f.v128.and(grows, infinite(f, x)), result);

  const yMagnitude = f.v128.andnot(y, sign);
  const small = f.f32x4.lt(yMagnitude, 2 ** 24);
  const truncated = f.i32x4.truncSatF32x4S(y);
  const isWhole = f.v128.or(f.f32x4.eq(f.f32x4.convertI32x4S(truncated), y), f.f32x4.ge(yMagnitude, 2 ** 24));
  const odd = f.v128.and(f.v128.and(f.i32x4.shl(truncated, 31), small), isWhole);
  result = f.v128.or(result, f.v128.and(odd, x));
  const invalid = f.v128.andnot(f.v128.andnot(f.f32x4.lt(x, 0), isWhole), extreme);
  const nan = f.v128.or(f.v128.or(invalid, f.f32x4.ne(x, x)), f.f32x4.ne(y, y));
  result = f.v128.select(nan, notANumber(f, x), result);
  return f.v128.select(f.v128.or(f.f32x4.eq(y, 0), f.f32x4.eq(x, 1)), one, result);
};
