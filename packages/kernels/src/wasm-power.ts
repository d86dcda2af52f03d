// Powers of two for exponents of a known range: cheaper than the general exponential, a third fewer operations.

import type { FunctionBuilder, Vec } from "@everlong/wasm";

const ROUNDER = 12582912;
// (2^r - 1) / r on |r| <= 1/2, minimax, as in @everlong/wasm.
const TAIL = [
  0.6931471824645996, 0.24022650718688965, 0.05550320819020271, 0.009617995470762253, 0.0013402980985119939,
  0.00015478854766115546,
];

/** 2^x for x < 127, 1.5 ulp; below -125 about 2^-125 instead of less. NaN stays NaN. */
export function powerOfTwo(f: FunctionBuilder, exponent: Vec): Vec {
  const x = f.f32x4.pmax(exponent, -125);
  const shifted = f.f32x4.add(x, ROUNDER);
  const r = f.f32x4.sub(x, f.f32x4.sub(shifted, ROUNDER));
  let tail: Vec = f.f32x4.constant(TAIL[5]!);
  for (let i = 4; i >= 0; i--) tail = f.f32x4.madd(tail, r, TAIL[i]!);
  // the low bits of the shifted number are the whole part: added to the exponent
  return f.i32x4.add(f.f32x4.madd(tail, r, 1), f.i32x4.shl(shifted, 23));
}
