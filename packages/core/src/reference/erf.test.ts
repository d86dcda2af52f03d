import { expect, test } from "vitest";
import { erf } from "./erf.ts";

// Sum of the Taylor series in fixed point with 200 binary digits: exact for our purposes.
function exactErf(x: number): number {
  const one = 1n << 200n;
  const fixed = (v: number): bigint => BigInt(Math.round(v * 2 ** 40)) * (one >> 40n);
  const t = fixed(x);
  const square = (t * t) / one;
  let term = t;
  let sum = t;
  for (let n = 1n; term !== 0n; n++) {
    term = (-term * square) / (n * one);
    sum += term / (2n * n + 1n);
  }
  // 1 / sqrt(pi) to 200 bits through the integer square root of pi.
  const pi = BigInt("3141592653589793238462643383279502884197169399375105820974944592307816406286");
  const scaled = (pi << 400n) / 10n ** 75n;
  let root = one * 2n;
  for (let i = 0; i < 300; i++) root = (root + scaled / root) / 2n;
  const value = (2n * sum * one) / root;
  return Number(value >> 136n) / 2 ** 64;
}

test("erf agrees with its series in long integers", () => {
  let worst = 0;
  for (let k = 1; k < 500; k++) {
    const x = Math.round(k * 0.0131 * 2 ** 40) / 2 ** 40;
    const exact = exactErf(x);
    worst = Math.max(worst, Math.abs(erf(x) - exact) / exact);
    expect(erf(-x)).toBe(-erf(x));
  }
  expect(worst).toBeLessThan(1e-15);
});

test("erf at the ends", () => {
  expect(erf(0)).toBe(0);
  expect(erf(Infinity)).toBe(1);
  expect(erf(-Infinity)).toBe(-1);
  expect(erf(NaN)).toBeNaN();
  expect(erf(1e-300)).toBeCloseTo(1.1283791670955126e-300, 315);
});
