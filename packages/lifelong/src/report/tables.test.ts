import { expect, test } from "vitest";
import { shortInterval, shortNumber } from "./tables.ts";

test("intervals show the digits that their width bears", () => {
  const text = (value: number, low: number, high: number): string =>
    shortInterval({ value, low, high, count: 5 });
  expect(text(-66.8461, -75.7713, -57.9301)).toBe("-66.8 [-75.8, -57.9]");
  expect(text(-0.064412, -0.124881, -0.009704)).toBe("-0.064 [-0.125, -0.010]");
  expect(text(1234.5, 200, 4000)).toBe("1235 [200, 4000]");
  expect(text(2, 2, 2)).toBe("2.000 [2.000, 2.000]");
  expect(text(3.25, Number.NaN, Number.NaN)).toBe(shortNumber(3.25));
});
