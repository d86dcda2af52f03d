// Gradient rules of the elementwise functions.

import type { BinaryFn, UnaryFn } from "../primitives.ts";
import type { Tensor } from "../tensor.ts";
import {
  add,
  cos,
  div,
  equal,
  exp,
  floor,
  less,
  lessEqual,
  log,
  mul,
  neg,
  pow,
  sign,
  sin,
  square,
  sub,
  where,
} from "../ops/elementwise.ts";
import type { Gradients } from "./vjp-rule.ts";

/** The rule of what has no slope. */
export const none = (): Gradients => [];

type UnaryRule = (x: Tensor, y: Tensor, g: Tensor) => Tensor | undefined;
/** Of `x`, the result `y` and its cotangent `g`. */
export const unaryRules: { readonly [F in UnaryFn]: UnaryRule } = {
  neg: (_x, _y, g) => neg(g),
  abs: (x, _y, g) => mul(g, sign(x)),
  sign: () => undefined,
  exp: (_x, y, g) => mul(g, y),
  expm1: (_x, y, g) => mul(g, add(y, 1)),
  log: (x, _y, g) => div(g, x),
  log1p: (x, _y, g) => div(g, add(x, 1)),
  sqrt: (_x, y, g) => div(mul(g, 0.5), y),
  rsqrt: (_x, y, g) => mul(mul(g, -0.5), mul(y, square(y))),
  reciprocal: (_x, y, g) => neg(mul(g, square(y))),
  sin: (x, _y, g) => mul(g, cos(x)),
  cos: (x, _y, g) => neg(mul(g, sin(x))),
  tanh: (_x, y, g) => mul(g, sub(1, square(y))),
  sigmoid: (_x, y, g) => mul(g, mul(y, sub(1, y))),
  erf: (x, _y, g) => mul(g, mul(exp(neg(square(x))), 2 / Math.sqrt(Math.PI))),
  floor: () => undefined,
  ceil: () => undefined,
  round: () => undefined,
  not: () => undefined,
};

type BinaryRule = (a: Tensor, b: Tensor, y: Tensor, g: Tensor, needed: readonly boolean[]) => Gradients;
/** Where operands tie, each gets half, as the limit of a smooth maximum does. */
const extreme =
  (fn: "max" | "min"): BinaryRule =>
  (a, b, _y, g) => {
    const wins = fn === "max" ? less(b, a) : less(a, b);
    const half = where(equal(a, b), mul(g, 0.5), 0);
    const loses = fn === "max" ? less(a, b) : less(b, a);
    return [add(where(wins, g, 0), half), add(where(loses, g, 0), half)];
  };
/** Of `a`, `b`, the result `y` and its cotangent `g`. */
export const binaryRules: { readonly [F in BinaryFn]: BinaryRule } = {
  add: (_a, _b, _y, g) => [g, g],
  sub: (_a, _b, _y, g, n) => [g, n[1] ? neg(g) : undefined],
  mul: (a, b, _y, g, n) => [n[0] ? mul(g, b) : undefined, n[1] ? mul(g, a) : undefined],
  div: (_a, b, y, g, n) => {
    const q = div(g, b);
    return [q, n[1] ? neg(mul(q, y)) : undefined];
  },
  mod: (a, b, _y, g, n) => [g, n[1] ? neg(mul(g, floor(div(a, b)))) : undefined],
  pow: (a, b, y, g, n) => [
    // x^0 has slope 0, also at x = 0.
    n[0] ? mul(g, where(equal(b, 0), 0, mul(b, pow(a, sub(b, 1))))) : undefined,
    n[1] ? mul(g, where(lessEqual(a, 0), 0, mul(y, log(where(lessEqual(a, 0), 1, a))))) : undefined,
  ],
  max: extreme("max"),
  min: extreme("min"),
  atan2: (a, b, _y, g, n) => {
    const r = add(square(a), square(b));
    return [n[0] ? mul(g, div(b, r)) : undefined, n[1] ? neg(mul(g, div(a, r))) : undefined];
  },
  and: none,
  or: none,
  xor: none,
  shl: none,
  shr: none,
};
