// Vector code of every instruction of a fused loop, for every dtype. Meanings are those of the reference device: integers wrap,
// integer division truncates and gives 0 for a zero divisor, max and min propagate NaN, casts saturate.

import { DTypeError, isFloat, type BinaryFn, type CompareFn, type DType, type UnaryFn } from "@everlong/core";
import * as wasm from "@everlong/wasm";
import type { FunctionBuilder, FunctionRef, ModuleBuilder, Vec } from "@everlong/wasm";
import { emitAtan2, emitFloatMod } from "./angle-and-remainder.ts";
import { lanesKind, roundTo } from "./lane-formats.ts";

const byte = (f: FunctionBuilder, dtype: DType, x: Vec): Vec => (dtype === "u8" ? f.v128.and(x, 255) : x);

export function emitUnary(f: FunctionBuilder, fn: UnaryFn, dtype: DType, x: Vec): Vec {
  if (isFloat(dtype)) return floatUnary[fn](f, x);
  if (dtype === "bool") {
    if (fn === "not") return f.v128.not(x);
    throw new DTypeError(fn, "needs numbers", { got: "bool" });
  }
  switch (fn) {
    case "neg":
      return byte(f, dtype, f.i32x4.neg(x));
    case "abs":
      return dtype === "u8" ? x : f.i32x4.abs(x);
    case "sign":
      return f.i32x4.maxS(f.i32x4.minS(x, 1), -1);
    case "not":
      return f.v128.xor(x, dtype === "u8" ? 255 : -1);
    case "floor":
    case "ceil":
    case "round":
      return x;
    default:
      throw new DTypeError(fn, "needs floats", { got: dtype });
  }
}

const floatUnary: { readonly [F in UnaryFn]: (f: FunctionBuilder, x: Vec) => Vec } = {
  neg: (f, x) => f.f32x4.neg(x),
  abs: (f, x) => f.f32x4.abs(x),
  sign: (f, x) => f.v128.select(f.f32x4.gt(x, 0), 1, f.v128.select(f.f32x4.lt(x, 0), -1, x)),
  exp: wasm.exp,
  expm1: wasm.expm1,
  log: wasm.log,
  log1p: wasm.log1p,
  sqrt: (f, x) => f.f32x4.sqrt(x),
  rsqrt: (f, x) => f.f32x4.div(f.constant(1, "f32x4", x.parts.length), f.f32x4.sqrt(x)),
  reciprocal: (f, x) => f.f32x4.div(f.constant(1, "f32x4", x.parts.length), x),
  sin: wasm.sin,
  cos: wasm.cos,
  tanh: wasm.tanh,
  sigmoid: wasm.sigmoid,
  erf: wasm.erf,
  floor: wasm.floor,
  ceil: wasm.ceil,
  round: wasm.round,
  not: () => {
    throw new DTypeError("not", "needs integers or bools", { got: "floats" });
  },
};

/**
 * `uniform` says that all lanes of `b` are equal, which makes shifts cheap.
 */
export function emitBinary(
  f: FunctionBuilder,
  module: ModuleBuilder,
  fn: BinaryFn,
  dtype: DType,
  a: Vec,
  b: Vec,
  uniform: boolean,
): Vec {
  const kind = lanesKind(dtype);
  if (kind === "float") return floatBinary(f, module, fn, a, b);
  if (kind === "mask") {
    if (fn === "and" || fn === "min") return f.v128.and(a, b);
    if (fn === "or" || fn === "max") return f.v128.or(a, b);
    if (fn === "xor") return f.v128.xor(a, b);
    throw new DTypeError(fn, "needs numbers", { got: "bool" });
  }
  switch (fn) {
    case "add":
    case "sub":
    case "mul":
      return byte(f, dtype, f.i32x4[fn](a, b));
    case "max":
      return f.i32x4.maxS(a, b);
    case "min":
      return f.i32x4.minS(a, b);
    case "and":
    case "or":
    case "xor":
      return f.v128[fn](a, b);
    case "shl":
    case "shr": {
      const op = fn === "shl" ? "shl" : "shrU";
      if (uniform) return byte(f, dtype, f.i32x4[op](a, f.i32x4.extractLane(b, 0)));
      return byte(
        f,
        dtype,
        byLane(f, a, b, (x, y) => f.i32[op](x, y)),
      );
    }
    case "div":
    case "mod":
    case "pow": {
      const helper = integerHelper[fn](module);
      return byte(
        f,
        dtype,
        byLane(f, a, b, (x, y) => f.call(helper, x, y) as wasm.Value<"i32">),
      );
    }
    default:
      throw new DTypeError(fn, "needs floats", { got: dtype });
  }
}

/**
 * Maximum or minimum that keeps NaN of either side. Three instructions, where WebAssembly's own `max` takes V8 about ten for
 * the sign of zero, which nobody asks for here.
 */
export function emitExtreme(f: FunctionBuilder, fn: "max" | "min", a: Vec, b: Vec): Vec {
  // The pseudo-maximum gives its first operand where the comparison fails, so NaN in a stays.
  const chosen = f.f32x4[fn === "max" ? "pmax" : "pmin"](a, b);
  return f.v128.select(f.f32x4.ne(b, b), b, chosen);
}

function floatBinary(f: FunctionBuilder, module: ModuleBuilder, fn: BinaryFn, a: Vec, b: Vec): Vec {
  switch (fn) {
    case "add":
    case "sub":
    case "mul":
    case "div":
      return f.f32x4[fn](a, b);
    case "max":
    case "min":
      return emitExtreme(f, fn, a, b);
    case "pow":
      return wasm.pow(f, a, b);
    case "mod":
      return emitFloatMod(f, module, a, b);
    case "atan2":
      return emitAtan2(f, a, b);
    default:
      throw new DTypeError(fn, "needs integers", { got: "floats" });
  }
}

/** x to a small whole power, which needs no logarithm. */
export function emitPower(f: FunctionBuilder, x: Vec, exponent: number): Vec {
  const one = f.constant(1, "f32x4", x.parts.length);
  if (exponent === 0) return one;
  if (exponent === 1) return x;
  if (exponent === -1) return f.f32x4.div(one, x);
  const square = f.f32x4.mul(x, x);
  if (exponent === 2) return square;
  return exponent === 3 ? f.f32x4.mul(square, x) : f.f32x4.mul(square, square);
}
export const WHOLE_POWERS: readonly number[] = [-1, 0, 1, 2, 3, 4];

function byLane(
  f: FunctionBuilder,
  a: Vec,
  b: Vec,
  op: (x: wasm.Value<"i32">, y: wasm.Value<"i32">) => wasm.Value<"i32">,
): Vec {
  let out = a;
  for (let lane = 0; lane < 4 * a.parts.length; lane++) {
    out = f.i32x4.replaceLane(out, lane, op(f.i32x4.extractLane(a, lane), f.i32x4.extractLane(b, lane)));
  }
  return out;
}

type Helper = (module: ModuleBuilder) => FunctionRef;
const integerHelper: { readonly [F in "div" | "mod" | "pow"]: Helper } = {
  div: (module) =>
    module.once("divI32", () =>
      module.define("divI32", { params: ["i32", "i32"], result: "i32" }, (f, a, b) => {
        f.if(f.i32.eqz(b), () => f.return(0));
        // The one overflow, -2^31 / -1, wraps to itself.
        f.if(f.i32.eq(b, -1), () => f.return(f.i32.sub(0, a)));
        return f.i32.divS(a, b);
      }),
    ),
  mod: (module) =>
    module.once("modI32", () =>
      module.define("modI32", { params: ["i32", "i32"], result: "i32" }, (f, a, b) => {
        f.if(f.i32.eqz(b), () => f.return(0));
        const r = f.i32.remS(a, b);
        const wrong = f.i32.and(f.i32.ne(r, 0), f.i32.ltS(f.i32.xor(r, b), 0));
        return f.i32.add(r, f.select(wrong, b, 0));
      }),
    ),
  pow: (module) =>
    module.once("powI32", () =>
      module.define("powI32", { params: ["i32", "i32"], result: "i32" }, (f, a, b) => {
        f.if(f.i32.ltS(b, 0), () => {
          f.if(f.i32.eq(a, 1), () => f.return(1));
          f.if(f.i32.ne(a, -1), () => f.return(0));
          f.return(f.i32.sub(1, f.i32.shl(f.i32.and(b, 1), 1)));
        });
        const out = f.variable("i32", 1);
        const base = f.variable("i32", a);
        const n = f.variable("i32", b);
        f.block((done) => {
          f.doWhile(() => {
            f.brIf(done, f.i32.eqz(n));
            f.if(f.i32.and(n, 1), () => f.set(out, f.i32.mul(out, base)));
            f.set(base, f.i32.mul(base, base));
            f.set(n, f.i32.shrU(n, 1));
            return f.i32.constant(1);
          });
        });
        return out;
      }),
    ),
};

export function emitCompare(f: FunctionBuilder, fn: CompareFn, of: DType, a: Vec, b: Vec): Vec {
  const kind = lanesKind(of);
  if (kind === "float") return f.f32x4[fn](a, b);
  if (kind === "int") {
    const op = ({ eq: "eq", ne: "ne", lt: "ltS", le: "leS", gt: "gtS", ge: "geS" } as const)[fn];
    return f.i32x4[op](a, b);
  }
  switch (fn) {
    case "eq":
      return f.v128.not(f.v128.xor(a, b));
    case "ne":
      return f.v128.xor(a, b);
    case "lt":
      return f.v128.andnot(b, a);
    case "le":
      return f.v128.or(b, f.v128.not(a));
    case "gt":
      return f.v128.andnot(a, b);
    case "ge":
      return f.v128.or(a, f.v128.not(b));
  }
}

export function emitCast(f: FunctionBuilder, from: DType, to: DType, x: Vec): Vec {
  if (from === to) return x;
  const [source, target] = [lanesKind(from), lanesKind(to)];
  if (target === "mask") return source === "float" ? f.f32x4.ne(x, 0) : f.i32x4.ne(x, 0);
  if (source === "mask") {
    return target === "int" ? f.v128.and(x, 1) : f.v128.and(x, f.constant(1, "f32x4", x.parts.length));
  }
  if (target === "int") {
    if (source === "int") return byte(f, to, x);
    const whole = f.i32x4.truncSatF32x4S(x);
    return to === "u8" ? f.i32x4.maxS(f.i32x4.minS(whole, 255), 0) : whole;
  }
  if (source === "float") return roundTo(f, to, x);
  return roundTo(f, to, f.f32x4.convertI32x4S(x));
}
