// What every elementwise function means, number by number. Numbers are doubles; integers and bools are doubles that hold
// whole values. Every device agrees with this file (float functions to the accuracy of the dtype, all else exactly):
//
// - max and min propagate NaN. sign(NaN) is NaN. round goes to the nearest, ties to even. pow is C's.
// - mod has the divisor's sign. Integer div truncates; integer div, mod and negative powers of 0 give 0 for a zero divisor.
// - Integers wrap (i32 to 32 bits, u8 to 8). Shifts use the count modulo 32; shr shifts in zeros.
// - cast: float to integer truncates and saturates, NaN gives 0; to bool is `!= 0`, so NaN is true; between integers wraps.
// - f32, f16 and bf16 values are rounded (to nearest, ties to even) where they are stored, cast or constant; inside a step
//   arithmetic is float64.

import { fromBf16Bits, isFloat, toBf16Bits, type DType } from "../dtype.ts";
import type { BinaryFn, CompareFn, ReduceFn, UnaryFn } from "../primitives.ts";
import { erf } from "./erf.ts";

export type Unary = (x: number) => number;
export type Binary = (a: number, b: number) => number;

function roundEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest < 0.5) return low;
  if (rest > 0.5) return low + 1;
  return low % 2 === 0 ? low : low + 1;
}

function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x));
  const e = Math.exp(x);
  return e / (1 + e);
}

// JavaScript differs from C where the base is 1, or -1 with an infinite exponent.
function pow(x: number, y: number): number {
  if (x === 1 || (x === -1 && Math.abs(y) === Infinity)) return 1;
  return x ** y;
}

function mod(x: number, y: number): number {
  const r = x % y;
  return r !== 0 && r < 0 !== y < 0 ? r + y : r;
}

function powInt(x: number, y: number): number {
  if (y < 0) return x === 1 ? 1 : x === -1 ? (y % 2 === 0 ? 1 : -1) : 0;
  let out = 1;
  for (let base = x, n = y; n > 0; n = Math.floor(n / 2), base = Math.imul(base, base)) {
    if (n % 2 === 1) out = Math.imul(out, base);
  }
  return out;
}

const floatUnary: { readonly [F in UnaryFn]: Unary } = {
  neg: (x) => -x,
  abs: Math.abs,
  sign: Math.sign,
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  reciprocal: (x) => 1 / x,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  sigmoid,
  erf,
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundEven,
  not: (x) => (x === 0 ? 1 : 0),
};

const floatBinary: { readonly [F in BinaryFn]: Binary } = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  mod,
  pow,
  max: Math.max,
  min: Math.min,
  atan2: Math.atan2,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr: (a, b) => a >>> b,
};

// Where whole numbers need other code; the result is wrapped afterwards.
const intBinary: { readonly [F in BinaryFn]?: Binary } = {
  mul: Math.imul,
  div: (a, b) => (b === 0 ? 0 : Math.trunc(a / b)),
  mod: (a, b) => (b === 0 ? 0 : mod(a, b)),
  pow: powInt,
};

/** Brings a whole number into the range of an integer or bool dtype. */
export function wrapFor(dtype: DType): Unary {
  switch (dtype) {
    case "i32":
      return (x) => x | 0;
    case "u8":
      return (x) => x & 255;
    case "bool":
      return (x) => (x === 0 ? 0 : 1);
    default:
      return (x) => x;
  }
}

/** Rounds to the nearest value that a float dtype can hold; wraps for the other dtypes. */
export function roundFor(dtype: DType): Unary {
  switch (dtype) {
    case "f64":
      return (x) => x;
    case "f32":
      return Math.fround;
    case "f16":
      return Math.f16round;
    case "bf16":
      return (x) => fromBf16Bits(toBf16Bits(x));
    default:
      return wrapFor(dtype);
  }
}

export function unaryFor(fn: UnaryFn, dtype: DType): Unary {
  const f = floatUnary[fn];
  if (isFloat(dtype) || dtype === "bool") return f;
  const wrap = wrapFor(dtype);
  if (fn === "not") return (x) => wrap(~x);
  return (x) => wrap(f(x));
}

export function binaryFor(fn: BinaryFn, dtype: DType): Binary {
  if (isFloat(dtype)) return floatBinary[fn];
  const f = intBinary[fn] ?? floatBinary[fn];
  const wrap = wrapFor(dtype);
  return (a, b) => wrap(f(a, b));
}

export const compareFns: { readonly [F in CompareFn]: Binary } = {
  eq: (a, b) => (a === b ? 1 : 0),
  ne: (a, b) => (a !== b ? 1 : 0),
  lt: (a, b) => (a < b ? 1 : 0),
  le: (a, b) => (a <= b ? 1 : 0),
  gt: (a, b) => (a > b ? 1 : 0),
  ge: (a, b) => (a >= b ? 1 : 0),
};

export function castFor(from: DType, to: DType): Unary {
  if (!isFloat(from) || isFloat(to) || to === "bool") return roundFor(to);
  const [low, high] = to === "i32" ? [-(2 ** 31), 2 ** 31 - 1] : [0, 255];
  return (x) => (Number.isNaN(x) ? 0 : Math.min(Math.max(Math.trunc(x), low), high));
}

/** The binary function that a reduction repeats, and its result over no elements. */
export function reductionFor(
  fn: ReduceFn,
  dtype: DType,
): { readonly combine: Binary; readonly empty: number } {
  switch (fn) {
    case "sum":
      return { combine: binaryFor("add", dtype), empty: 0 };
    case "prod":
      return { combine: binaryFor("mul", dtype), empty: 1 };
    default:
      return { combine: binaryFor(fn, dtype), empty: fn === "max" ? -Infinity : Infinity };
  }
}
