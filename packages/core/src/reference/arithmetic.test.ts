import { describe, expect, test } from "vitest";
import { BINARY_FNS, COMPARE_FNS, UNARY_FNS } from "../primitives.ts";
import { binaryFor, castFor, compareFns, reductionFor, roundFor, unaryFor } from "./arithmetic.ts";

const MIN = -(2 ** 31);
const MAX = 2 ** 31 - 1;

describe("floats", () => {
  // argument, result
  const cases: { [F in (typeof UNARY_FNS)[number]]: readonly (readonly [number, number])[] } = {
    neg: [[2, -2]],
    abs: [[-3.5, 3.5]],
    sign: [
      [-3, -1],
      [0, 0],
      [7, 1],
      [NaN, NaN],
    ],
    exp: [
      [1, Math.E],
      [-Infinity, 0],
    ],
    expm1: [[1e-20, 1e-20]],
    log: [
      [0, -Infinity],
      [Math.E, 1],
      [-1, NaN],
    ],
    log1p: [
      [1e-20, 1e-20],
      [-1, -Infinity],
    ],
    sqrt: [
      [2.25, 1.5],
      [-1, NaN],
    ],
    rsqrt: [
      [4, 0.5],
      [0, Infinity],
    ],
    reciprocal: [[4, 0.25]],
    sin: [[Math.PI / 6, 0.5]],
    cos: [[Math.PI / 3, 0.5]],
    tanh: [
      [Infinity, 1],
      [0.5, 0.4621171572600098],
    ],
    sigmoid: [
      [0, 0.5],
      [-800, 0],
      [800, 1],
      [-1, 0.2689414213699951],
    ],
    erf: [[0.5, 0.5204998778130465]],
    floor: [[-1.5, -2]],
    ceil: [[-1.5, -1]],
    round: [
      [0.5, 0],
      [1.5, 2],
      [2.5, 2],
      [-0.5, 0],
      [-2.5, -2],
      [0.49999999999999994, 0],
      [-1.2, -1],
      [NaN, NaN],
    ],
    not: [
      [0, 1],
      [3, 0],
    ],
  };
  test.each(UNARY_FNS)("%s", (fn) => {
    for (const [x, y] of cases[fn]) {
      const got = unaryFor(fn, "f64")(x);
      if (Number.isFinite(y))
        expect(Math.abs(got - y), `${fn}(${x})`).toBeLessThan(5e-16 * Math.max(1, Math.abs(y)));
      else expect(got, `${fn}(${x})`).toBe(y);
    }
  });

  test("max and min propagate NaN", () => {
    for (const fn of ["max", "min"] as const) {
      expect(binaryFor(fn, "f64")(NaN, 1)).toBeNaN();
      expect(binaryFor(fn, "f64")(1, NaN)).toBeNaN();
    }
  });
  test("mod has the divisor's sign", () => {
    const mod = binaryFor("mod", "f64");
    expect([mod(7, 3), mod(-7, 3), mod(7, -3), mod(-7, -3), mod(-0.5, 2)]).toEqual([1, 2, -2, -1, 1.5]);
    expect(mod(1, 0)).toBeNaN();
  });
  test("pow is C's", () => {
    const pow = binaryFor("pow", "f64");
    expect([pow(1, NaN), pow(-1, Infinity), pow(-1, -Infinity), pow(NaN, 0), pow(-8, 3)]).toEqual([
      1, 1, 1, 1, -512,
    ]);
    expect(pow(-8, 1 / 3)).toBeNaN();
  });
  test("atan2 and div", () => {
    expect(binaryFor("atan2", "f64")(-1, -1)).toBeCloseTo((-3 * Math.PI) / 4, 15);
    expect(binaryFor("div", "f64")(1, 0)).toBe(Infinity);
  });
});

describe("integers", () => {
  // function, a, b, result as i32, result as u8 of the arguments modulo 256
  const cases: { [F in (typeof BINARY_FNS)[number]]: readonly (readonly [number, number, number])[] } = {
    add: [[MAX, 1, MIN]],
    sub: [[MIN, 1, MAX]],
    mul: [
      [65537, 65537, 131073],
      [MAX, MAX, 1],
    ],
    div: [
      [7, 2, 3],
      [-7, 2, -3],
      [5, 0, 0],
      [MIN, -1, MIN],
    ],
    mod: [
      [7, 3, 1],
      [-7, 3, 2],
      [7, -3, -2],
      [5, 0, 0],
    ],
    pow: [
      [3, 4, 81],
      [-2, 31, MIN],
      [3, 40, -277986895 | 0],
      [2, -1, 0],
      [-1, -3, -1],
      [1, -5, 1],
      [0, 0, 1],
    ],
    max: [[3, -4, 3]],
    min: [[3, -4, -4]],
    atan2: [[0, 1, 0]],
    and: [
      [12, 10, 8],
      [-1, 7, 7],
    ],
    or: [[12, 10, 14]],
    xor: [[12, 10, 6]],
    shl: [
      [1, 31, MIN],
      [1, 33, 2],
    ],
    shr: [
      [-1, 28, 15],
      [MIN, 31, 1],
      [-1, 0, -1],
    ],
  };
  test.each(BINARY_FNS)("%s on i32", (fn) => {
    for (const [a, b, c] of cases[fn]) {
      const expected = fn === "pow" && b === 40 ? Number(BigInt.asIntN(32, 3n ** 40n)) : c;
      expect(binaryFor(fn, "i32")(a, b) + 0, `${fn}(${a}, ${b})`).toBe(expected);
    }
  });
  test("u8 wraps to eight bits", () => {
    expect(binaryFor("add", "u8")(200, 100)).toBe(44);
    expect(binaryFor("sub", "u8")(1, 2)).toBe(255);
    expect(binaryFor("mul", "u8")(16, 17)).toBe(16);
    expect(binaryFor("shl", "u8")(255, 1)).toBe(254);
    expect(unaryFor("not", "u8")(1)).toBe(254);
    expect(unaryFor("neg", "u8")(1)).toBe(255);
    expect(unaryFor("not", "i32")(5)).toBe(-6);
    expect(unaryFor("abs", "i32")(MIN)).toBe(MIN);
    expect(unaryFor("not", "bool")(1)).toBe(0);
  });
});

test.each(COMPARE_FNS)("compare %s", (fn) => {
  const table = {
    eq: [0, 1, 0, 0],
    ne: [1, 0, 1, 1],
    lt: [1, 0, 0, 0],
    le: [1, 1, 0, 0],
    gt: [0, 0, 1, 0],
    ge: [0, 1, 1, 0],
  };
  const f = compareFns[fn];
  expect([f(1, 2), f(2, 2), f(3, 2), f(NaN, NaN)]).toEqual(table[fn]);
});

test("casts", () => {
  const int = castFor("f64", "i32");
  expect([2.9, -2.9, 3e9, -3e9, Infinity, -Infinity, NaN].map(int)).toEqual([2, -2, MAX, MIN, MAX, MIN, 0]);
  const byte = castFor("f32", "u8");
  expect([2.9, -2.9, 300, Infinity, NaN].map((x) => byte(x) + 0)).toEqual([2, 0, 255, 255, 0]);
  const bool = castFor("f64", "bool");
  expect([0, -0, 0.1, NaN].map(bool)).toEqual([0, 0, 1, 1]);
  expect([300, -1].map(castFor("i32", "u8"))).toEqual([44, 255]);
  expect(castFor("i32", "f32")(16777217)).toBe(16777216);
  expect(castFor("i32", "f64")(16777217)).toBe(16777217);
  expect(castFor("f64", "f16")(65520)).toBe(Infinity);
  expect(castFor("f64", "f16")(1 + 2 ** -11)).toBe(1);
  expect(castFor("f64", "bf16")(1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6);
  expect(castFor("f64", "bf16")(1 + 2 ** -8)).toBe(1);
  expect(roundFor("bf16")(NaN)).toBeNaN();
  expect(roundFor("f32")(0.1)).toBe(Math.fround(0.1));
});

test("reductions start from their neutral element", () => {
  for (const fn of ["sum", "prod", "max", "min"] as const) {
    const { combine, empty } = reductionFor(fn, "f64");
    expect(combine(empty, -3.25)).toBe(-3.25);
  }
  expect([MAX, 1].reduce(reductionFor("sum", "i32").combine, 0)).toBe(MIN);
});
