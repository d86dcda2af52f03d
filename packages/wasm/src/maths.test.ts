import { describe, expect, test } from "vitest";
import * as maths from "./maths.ts";
import { ModuleBuilder } from "./module-builder.ts";
import type { VecFunction } from "./maths.ts";

const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true });
const f32 = new Float32Array(memory.buffer);
const [X, Y, OUT] = [1024, 1 << 20, 2 << 20];

type Unary = keyof { [K in keyof typeof maths as (typeof maths)[K] extends VecFunction ? K : never]: 0 };
const functions: Readonly<Record<string, unknown>> = { ...maths };
const UNARY = Object.keys(maths).filter((n) => n !== "pow") as Unary[];

function compile(width: 1 | 2, relaxed: boolean): Record<string, (end: number) => void> {
  const module = new ModuleBuilder({ width, relaxed });
  const step = 16 * width;
  for (const name of UNARY)
    module.define(name, { params: ["i32"], exported: true }, (f, end) => {
      const p = f.variable("i32", 0);
      f.sweep(p, end, [[p, step]], () =>
        f.mem.vec.store(p, OUT, (functions[name] as VecFunction)(f, f.mem.vec.load(p, X))),
      );
    });
  module.define("pow", { params: ["i32"], exported: true }, (f, end) => {
    const p = f.variable("i32", 0);
    f.sweep(p, end, [[p, step]], () =>
      f.mem.vec.store(p, OUT, maths.pow(f, f.mem.vec.load(p, X), f.mem.vec.load(p, Y))),
    );
  });
  const bytes = module.bytes();
  expect(WebAssembly.validate(bytes)).toBe(true);
  return new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } }).exports as never;
}

/** erf in float64: series near 0, continued fraction of erfc further out. */
function erf64(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x)) return NaN;
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let [term, sum] = [x, x];
    for (let k = 1; k < 100; k++) {
      term *= -(x * x) / k;
      sum += term / (2 * k + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let k = 120; k > 0; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

const roundEven = (x: number): number => {
  const down = Math.floor(x);
  if (!Number.isFinite(x)) return x;
  const r = x - down < 0.5 ? down : x - down > 0.5 ? down + 1 : down % 2 === 0 ? down : down + 1;
  return r === 0 && (x < 0 || Object.is(x, -0)) ? -0 : r;
};

const sigmoid64 = (x: number): number => 1 / (1 + Math.exp(-x));
const exact: Record<Unary, (x: number) => number> = {
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  sigmoid: sigmoid64,
  softplus: (x) => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x))),
  erf: erf64,
  gelu: (x) => 0.5 * x * (1 + erf64(x * Math.SQRT1_2)),
  geluTanh: (x) => x * sigmoid64(2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)),
  silu: (x) => x * sigmoid64(x),
  relu: (x) => (x < 0 ? 0 : x),
  trunc: Math.trunc,
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundEven,
};
/** Largest error in ulp of the result, over the stated range. */
const bounds: Record<Unary, number> = {
  exp: 1.5,
  expm1: 2.5,
  log: 1.5,
  log1p: 2.5,
  sin: 2,
  cos: 2,
  tanh: 3,
  sigmoid: 2.5,
  softplus: 3,
  erf: 2.5,
  gelu: 0,
  geluTanh: 0,
  silu: 0,
  relu: 0,
  trunc: 0,
  floor: 0,
  ceil: 0,
  round: 0,
};

/** Relative bounds of functions that are a product of the argument with another function. */
const RELATIVE: Partial<Record<Unary, number>> = { gelu: 4e-7, geluTanh: 4e-6, silu: 4e-7 };

const bits = new DataView(new ArrayBuffer(4));
function ulp(x: number): number {
  const a = Math.abs(Math.fround(x));
  if (!Number.isFinite(a)) return 2 ** 104;
  bits.setFloat32(0, a);
  const exponent = Math.max(1, bits.getUint32(0) >>> 23);
  return 2 ** (exponent - 150);
}

function check(name: string, got: number, want: number, bound: number, at: string): void {
  const target = Math.fround(want);
  if (Number.isNaN(want) || !Number.isFinite(target) || target === 0) {
    const near = Number.isFinite(want) && Number.isFinite(got) && Math.abs(got - want) <= bound * ulp(want);
    const max =
      !Number.isFinite(target) && Math.abs(got) > 3.402823e38 && Math.sign(got) === Math.sign(target);
    if (!near && !max) expect(got, `${name}(${at})`).toBe(target);
    return;
  }
  const error = Math.abs(got - want) / ulp(want);
  if (!(error <= bound)) expect.fail(`${name}(${at}) = ${got}, expected ${want}: ${error.toFixed(2)} ulp`);
}

let seed = 1;
const random = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const anyFloat = (): number => {
  bits.setUint32(0, Math.floor(random() * 2 ** 32));
  return bits.getFloat32(0);
};

const EDGES = [
  0,
  -0,
  NaN,
  Infinity,
  -Infinity,
  1,
  -1,
  0.5,
  -0.5,
  1e-45,
  -1e-45,
  1e-39,
  -1e-39,
  1.17549435e-38,
  3.4028235e38,
  -3.4028235e38,
  88.72283,
  88.72284,
  89,
  -87.3,
  -88,
  -103.9,
  -104,
  -105,
  1e-8,
  -1e-8,
  1.5,
  2.5,
  -1.5,
  -2.5,
  8388607.5,
  -8388607.5,
  0.99999994,
  1.0000001,
  -0.99999994,
  0.71,
  Math.SQRT1_2,
  Math.PI,
  Math.PI / 2,
  -Math.PI / 2,
  2 * Math.PI,
];

describe.each([
  [1, true],
  [2, true],
  [2, false],
] as const)("width %i, relaxed %s", (width, relaxed) => {
  const fns = compile(width, relaxed);
  const wide = relaxed ? 5e5 : 1e5;

  test.each(UNARY)("%s", (name) => {
    const inputs: number[] = [...EDGES];
    while (inputs.length % 8 !== 0) inputs.push(0.25);
    for (let i = 0; i < 20_000; i++) {
      inputs.push((random() - 0.5) * 4, (random() - 0.5) * 40, (random() - 0.5) * 210);
      inputs.push(
        Math.exp((random() - 0.5) * 40) * (i % 2 ? 1 : -1),
        random() < 0.5 ? 1 + (random() - 0.5) / 512 : random(),
      );
      inputs.push((random() - 0.5) * 2e5, (Math.floor(random() * 60000) * Math.PI) / 2, anyFloat());
    }
    for (let i = 0; i < inputs.length; i++) f32[X / 4 + i] = inputs[i]!;
    fns[name]!(inputs.length * 4);
    for (let i = 0; i < inputs.length; i++) {
      const x = f32[X / 4 + i]!;
      const got = f32[OUT / 4 + i]!;
      if (name === "sin" || name === "cos") {
        if (Number.isFinite(x) && Math.abs(x) > wide) {
          expect(Math.abs(got)).toBeLessThanOrEqual(1);
          continue;
        }
      }
      const relative = RELATIVE[name];
      if (relative) {
        const want = exact[name](x);
        if (!Number.isFinite(x) || Math.abs(x) > 1e12) continue;
        // products of x with a function: subnormal factors lose digits; gelu cancels for negative x
        const size = name === "gelu" ? Math.max(Math.abs(want), Math.min(1, Math.abs(x))) : Math.abs(want);
        if (
          !(
            Math.abs(got - want) <=
            relative * size + (name === "geluTanh" ? 1e-10 : 0) + 2e-45 * (1 + Math.abs(x))
          )
        )
          expect.fail(`${name}(${x}) = ${got}, expected ${want}`);
        continue;
      }
      const bound = relaxed || (name !== "sin" && name !== "cos") ? bounds[name] : 4;
      check(name, got, exact[name](x), bound, String(x));
    }
  });

  test("signs of zero are kept by odd functions", () => {
    f32.fill(-0, X / 4, X / 4 + 8);
    for (const name of ["expm1", "log1p", "sin", "tanh", "erf", "trunc", "floor", "ceil", "round"] as const) {
      fns[name]!(32);
      expect(f32[OUT / 4 + 4 * width - 1], name).toBe(-0);
    }
  });

  test("pow", () => {
    const pairs: [number, number][] = [];
    const special = [
      0,
      -0,
      1,
      -1,
      0.5,
      -0.5,
      2,
      -2,
      3,
      -3,
      2.5,
      -2.5,
      Infinity,
      -Infinity,
      NaN,
      1e30,
      -1e30,
      16777217,
      1e-40,
    ];
    for (const x of special) for (const y of special) pairs.push([x, y]);
    for (let i = 0; i < 60_000; i++) {
      pairs.push(
        [random() * 4, (random() - 0.5) * 60],
        [Math.exp((random() - 0.5) * 170), (random() - 0.5) * 4],
      );
      pairs.push(
        [1 + (random() - 0.5) / 1024, (random() - 0.5) * 2e4],
        [(random() - 0.5) * 20, Math.floor(random() * 30 - 15)],
      );
    }
    while (pairs.length % 8 !== 0) pairs.push([2, 2]);
    pairs.forEach(([x, y], i) => {
      f32[X / 4 + i] = x;
      f32[Y / 4 + i] = y;
    });
    fns["pow"]!(pairs.length * 4);
    for (let i = 0; i < pairs.length; i++) {
      const [x, y] = [f32[X / 4 + i]!, f32[Y / 4 + i]!];
      const want =
        x === 1 || y === 0 ? 1 : Math.abs(x) === 1 && !Number.isFinite(y) && !Number.isNaN(y) ? 1 : x ** y;
      check("pow", f32[OUT / 4 + i]!, want, 2, `${x}, ${y}`);
    }
  });
});
