// Elementwise primitives: values against formulas, gradients (twice) against finite differences, batching against a loop.

import * as fc from "fast-check";
import {
  awayFromZero,
  checkOp,
  integers,
  normal,
  positive,
  uniform,
  type CheckOptions,
  type InputSpec,
  type Sample,
  type Subject,
} from "@everlong/testing";
import {
  BINARY_FNS,
  COMPARE_FNS,
  UNARY_FNS,
  type BinaryFn,
  type CompareFn,
  type UnaryFn,
} from "../primitives.ts";
import type { DType } from "../dtype.ts";
import type { Shape } from "../shape.ts";
import { subject } from "./check-subject.ts";

const SHAPES: readonly Shape[] = [[], [1], [7], [3, 5], [2, 1, 4], [0], [3, 0, 2]];
const shapeOf = (min = 0): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 0, max: 5 }), { minLength: min, maxLength: 4 });

interface Elementwise {
  readonly formula: (...x: number[]) => number;
  readonly sample?: Sample;
  readonly samples?: readonly Sample[];
  readonly dtype?: "i32" | "bool";
  /** Default true for floats. */
  readonly smooth?: boolean;
}

function checkElementwise<P>(
  target: Subject<P>,
  params: P,
  arity: number,
  { formula, sample = normal, samples, dtype, smooth = true }: Elementwise,
  options: Partial<CheckOptions<P>> = {},
): void {
  const inputsOf = (shape: Shape): InputSpec[] =>
    Array.from({ length: arity }, (_, i) => ({
      shape,
      sample: samples?.[i] ?? sample,
      ...(dtype ? { dtype } : {}),
    }));
  checkOp(target, {
    cases: SHAPES.map((shape) => ({ inputs: inputsOf(shape), params })),
    arbitrary: shapeOf().map((shape) => ({ inputs: inputsOf(shape), params })),
    runs: 3,
    expected: (inputs) => [inputs[0]!.data.map((_, i) => formula(...inputs.map((x) => x.data[i]!)))],
    secondOrder: smooth,
    ...options,
  });
}

const erfByIntegration = (x: number): number => {
  // Simpson's rule, fine enough for 1e-13.
  const n = 2000;
  const f = (t: number): number => Math.exp(-t * t);
  let total = f(0) + f(x);
  for (let k = 1; k < n; k++) total += (k % 2 === 1 ? 4 : 2) * f((x * k) / n);
  return ((2 / Math.sqrt(Math.PI)) * x * total) / (3 * n);
};

const unary: { readonly [F in UnaryFn]: Elementwise } = {
  neg: { formula: (x) => -x },
  abs: { formula: (x) => (x < 0 ? -x : x), sample: awayFromZero },
  sign: { formula: (x) => (x < 0 ? -1 : 1), sample: awayFromZero },
  exp: { formula: Math.exp },
  expm1: { formula: Math.expm1 },
  log: { formula: Math.log, sample: positive },
  log1p: { formula: Math.log1p, sample: positive },
  sqrt: { formula: Math.sqrt, sample: positive },
  rsqrt: { formula: (x) => x ** -0.5, sample: positive },
  reciprocal: { formula: (x) => 1 / x, sample: positive },
  sin: { formula: Math.sin },
  cos: { formula: Math.cos },
  tanh: { formula: Math.tanh },
  sigmoid: { formula: (x) => 1 / (1 + Math.exp(-x)) },
  erf: { formula: erfByIntegration },
  floor: { formula: Math.floor, sample: (r, i) => (i % 7) - 3 + 0.1 + 0.8 * r.uniform() },
  ceil: { formula: Math.ceil, sample: (r, i) => (i % 7) - 3 + 0.1 + 0.8 * r.uniform() },
  round: { formula: Math.round, sample: (r, i) => (i % 7) - 3 + 0.6 + 0.8 * r.uniform() },
  not: { formula: (x) => ~x, dtype: "i32", sample: integers(-(2 ** 31), 2 ** 31), smooth: false },
};
for (const fn of UNARY_FNS) checkElementwise(subject("unary", `unary ${fn}`), { fn }, 1, unary[fn]);

const words = { dtype: "i32", sample: integers(-(2 ** 31), 2 ** 31), smooth: false } as const;
const counts = { ...words, samples: [words.sample, integers(0, 40)] } as const;
// Above or below every normal number that is drawn: no ties.
const apart: Sample = (r, i) => (i % 2 === 0 ? -9 : 9) + r.uniform();
const binary: { readonly [F in BinaryFn]: Elementwise } = {
  add: { formula: (a, b) => a + b },
  sub: { formula: (a, b) => a - b },
  mul: { formula: (a, b) => a * b },
  div: { formula: (a, b) => a / b, samples: [normal, positive] },
  mod: { formula: (a, b) => a - b * Math.floor(a / b), samples: [uniform(4.2, 4.8), uniform(1.25, 1.35)] },
  pow: { formula: (a, b) => Math.exp(b * Math.log(a)), samples: [positive, normal] },
  max: { formula: (a, b) => (a > b ? a : b), samples: [normal, apart] },
  min: { formula: (a, b) => (a < b ? a : b), samples: [normal, apart] },
  atan2: { formula: (a, b) => 2 * Math.atan(a / (Math.sqrt(a * a + b * b) + b)), sample: awayFromZero },
  and: { formula: (a, b) => a & b, ...words },
  or: { formula: (a, b) => a | b, ...words },
  xor: { formula: (a, b) => a ^ b, ...words },
  shl: { formula: (a, b) => Number(BigInt.asIntN(32, BigInt(a) << BigInt(b % 32))), ...counts },
  shr: {
    formula: (a, b) => Number(BigInt.asIntN(32, BigInt.asUintN(32, BigInt(a)) >> BigInt(b % 32))),
    ...counts,
  },
};
for (const fn of BINARY_FNS) checkElementwise(subject("binary", `binary ${fn}`), { fn }, 2, binary[fn]);

const compare: { readonly [F in CompareFn]: (a: number, b: number) => boolean } = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
};
for (const fn of COMPARE_FNS) {
  const formula = (...[a, b]: number[]): number => Number(compare[fn](a!, b!));
  const sample = integers(-2, 3);
  checkElementwise(
    subject("compare", `compare ${fn}`),
    { fn },
    2,
    { formula, sample, smooth: false },
    { differentiable: false },
  );
}

checkOp(subject("select"), {
  cases: SHAPES.map((shape) => ({
    inputs: [{ shape, dtype: "bool" as const }, shape, shape],
    params: {},
  })),
  expected: ([c, a, b]) => [c!.data.map((v, i) => (v === 1 ? a : b)!.data[i]!)],
  secondOrder: true,
});

const to = (dtype: DType, from: InputSpec, formula: (x: number) => number): void =>
  checkOp(subject("cast", `cast to ${dtype}`), {
    cases: [{ inputs: [from], params: { dtype } }],
    expected: ([x]) => [x!.data.map(formula)],
    differentiable: false,
  });
to("i32", { shape: [9], sample: uniform(-9, 9) }, Math.trunc);
to("u8", { shape: [9], sample: uniform(-9, 300) }, (x) => Math.min(Math.max(Math.trunc(x), 0), 255));
to("bool", { shape: [9], sample: integers(-1, 2) }, (x) => (x === 0 ? 0 : 1));
to("f32", { shape: [9] }, Math.fround);
to("f16", { shape: [9] }, Math.f16round);
to("u8", { shape: [9], dtype: "i32", sample: integers(-999, 999) }, (x) => ((x % 256) + 256) % 256);
to("f32", { shape: [9], dtype: "i32", sample: words.sample }, Math.fround);
