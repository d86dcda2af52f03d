import { describe, expect, test } from "vitest";
import { DTYPES, fromBf16Bits, promote, readElement, toBf16Bits, writeElement, type DType } from "./dtype.ts";

const all = Object.keys(DTYPES) as DType[];

describe("promote", () => {
  test("is symmetric and keeps equal dtypes", () => {
    for (const a of all) for (const b of all) expect(promote(a, b)).toBe(promote(b, a));
    for (const a of all) expect(promote(a, a)).toBe(a);
  });
  test.each<[DType, DType, DType]>([
    ["bool", "u8", "u8"],
    ["u8", "i32", "i32"],
    ["i32", "f16", "f16"],
    ["f16", "bf16", "f32"],
    ["bf16", "f32", "f32"],
    ["f32", "f64", "f64"],
  ])("%s with %s is %s", (a, b, c) => expect(promote(a, b)).toBe(c));
});

describe("bf16", () => {
  test("every pattern survives the way to a number and back; NaN stays NaN", () => {
    for (let bits = 0; bits < 65536; bits++) {
      const x = fromBf16Bits(bits);
      if (Number.isNaN(x)) expect(Number.isNaN(fromBf16Bits(toBf16Bits(x)))).toBe(true);
      else if (toBf16Bits(x) !== bits) expect(toBf16Bits(x)).toBe(bits);
    }
  });
  test("rounds to the nearest, ties to even, and overflows to infinity", () => {
    expect(
      [1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20].map((x) => fromBf16Bits(toBf16Bits(x))),
    ).toEqual([1, 1 + 2 ** -6, 1 + 2 ** -7]);
    expect(fromBf16Bits(toBf16Bits(3.4e38))).toBe(Infinity);
    expect(fromBf16Bits(toBf16Bits(-3.4e38))).toBe(-Infinity);
    expect(Object.is(fromBf16Bits(toBf16Bits(-0)), -0)).toBe(true);
  });
});

test("writeElement converts as a cast does, into every storage", () => {
  const written = (dtype: DType, x: number): number => {
    const data = DTYPES[dtype].array(1);
    writeElement(dtype, data, 0, x);
    return readElement(dtype, data, 0);
  };
  expect(written("bool", NaN)).toBe(1);
  expect(written("bool", 0.5)).toBe(1);
  expect([2.9, -2.9, NaN, 3e9, -3e9, Infinity].map((x) => written("i32", x))).toEqual([
    2,
    -2,
    0,
    2 ** 31 - 1,
    -(2 ** 31),
    2 ** 31 - 1,
  ]);
  expect([2.9, -1, 300, NaN].map((x) => written("u8", x))).toEqual([2, 0, 255, 0]);
  expect(written("f32", 0.1)).toBe(Math.fround(0.1));
  expect(written("f16", 0.1)).toBe(Math.f16round(0.1));
  expect(written("bf16", 0.1)).toBe(0.10009765625);
  for (const dtype of all) expect(DTYPES[dtype].array(3).BYTES_PER_ELEMENT).toBe(DTYPES[dtype].bytes);
});
