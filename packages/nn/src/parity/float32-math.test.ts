import { expect, test } from "vitest";
import { cos32, exp32, sin32 } from "./float32-math.ts";

test("float32 functions are within one unit in the last place, large angles too", () => {
  const ulp = (x: number): number => 2 ** (Math.floor(Math.log2(Math.abs(x) + 1e-30)) - 23);
  let inexact = 0;
  for (let i = 0; i < 4000; i++) {
    const x = Math.fround((i - 2000) * 0.377 + 0.01 * i);
    for (const [ours, exact] of [
      [sin32(x), Math.sin(x)],
      [cos32(x), Math.cos(x)],
      [exp32(Math.fround(x / 10)), Math.exp(Math.fround(x / 10))],
    ] as const) {
      expect(Math.abs(ours - exact) / ulp(exact), `${x}`).toBeLessThan(1.01);
      if (ours !== Math.fround(exact)) inexact++;
    }
  }
  // They are not the correctly rounded functions: that is the point.
  expect(inexact).toBeGreaterThan(50);
});

test("known values of the library on which the tables depend", () => {
  // cos(1) lies almost between two floats; SLEEF gives the upper one.
  expect(cos32(1)).toBe(Math.fround(Math.cos(1)) + 2 ** -24);
  expect(sin32(17)).toBe(Math.fround(Math.sin(17)) - 2 ** -24);
});
