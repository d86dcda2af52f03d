// Elementwise functions with broadcasting and promotion.

import { DTYPES, isFloat, promote, type DType } from "../dtype.ts";
import type { BinaryFn, CompareFn, UnaryFn } from "../primitives.ts";
import { record1 } from "../record.ts";
import { broadcastShapes, sameShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { full } from "./creation.ts";
import { broadcastTo } from "./movement.ts";

/** A tensor, or a number that takes the other operand's dtype. */
export type Operand = Tensor | number | boolean;

const unary =
  (fn: UnaryFn) =>
  (x: Tensor): Tensor =>
    record1("unary", { fn }, [x]);

/** Unary functions of float arguments: integers are cast first. */
const floatUnary =
  (fn: UnaryFn) =>
  (x: Tensor): Tensor =>
    record1("unary", { fn }, [toFloat(x)]);

export const toFloat = (x: Tensor): Tensor => (isFloat(x.dtype) ? x : cast(x, x.device.defaultFloat));

/** Converts; float to integer truncates, anything to bool tests for non-zero. */
export const cast = (x: Tensor, dtype: DType): Tensor =>
  x.dtype === dtype ? x : record1("cast", { dtype }, [x]);

export const neg: (x: Tensor) => Tensor = unary("neg");
export const abs: (x: Tensor) => Tensor = unary("abs");
/** -1, 0 or 1; NaN stays NaN. */
export const sign: (x: Tensor) => Tensor = unary("sign");
export const exp: (x: Tensor) => Tensor = floatUnary("exp");
export const expm1: (x: Tensor) => Tensor = floatUnary("expm1");
export const log: (x: Tensor) => Tensor = floatUnary("log");
export const log1p: (x: Tensor) => Tensor = floatUnary("log1p");
export const sqrt: (x: Tensor) => Tensor = floatUnary("sqrt");
export const rsqrt: (x: Tensor) => Tensor = floatUnary("rsqrt");
export const reciprocal: (x: Tensor) => Tensor = floatUnary("reciprocal");
export const sin: (x: Tensor) => Tensor = floatUnary("sin");
export const cos: (x: Tensor) => Tensor = floatUnary("cos");
export const tanh: (x: Tensor) => Tensor = floatUnary("tanh");
export const sigmoid: (x: Tensor) => Tensor = floatUnary("sigmoid");
export const erf: (x: Tensor) => Tensor = floatUnary("erf");
export const floor: (x: Tensor) => Tensor = unary("floor");
export const ceil: (x: Tensor) => Tensor = unary("ceil");
/** To the nearest integer, ties to even. */
export const round: (x: Tensor) => Tensor = unary("round");
export const not: (x: Tensor) => Tensor = unary("not");
export const square = (x: Tensor): Tensor => mul(x, x);

function pair(op: string, a: Operand, b: Operand, wanted?: DType): [Tensor, Tensor] {
  const like = (typeof a === "object" ? a : b) as Tensor;
  const lift = (x: Operand): Tensor => {
    if (typeof x === "object") return x;
    const natural = typeof x === "boolean" ? "bool" : Number.isInteger(x) ? "i32" : like.device.defaultFloat;
    const dtype = DTYPES[natural].kind === "float" && !isFloat(like.dtype) ? natural : like.dtype;
    return full([], Number(x), {
      dtype: like.dtype === "bool" && typeof x === "number" ? natural : dtype,
      device: like.device,
    });
  };
  let [x, y] = [lift(a), lift(b)];
  const dtype = wanted ?? promote(x.dtype, y.dtype);
  [x, y] = [cast(x, dtype), cast(y, dtype)];
  if (sameShape(x.shape, y.shape)) return [x, y];
  const shape = broadcastShapes(op, x.shape, y.shape);
  return [broadcastTo(x, shape), broadcastTo(y, shape)];
}

const binary =
  (fn: BinaryFn) =>
  (a: Operand, b: Operand): Tensor =>
    record1("binary", { fn }, pair(fn, a, b));

type Binary = (a: Operand, b: Operand) => Tensor;
export const add: Binary = binary("add");
export const sub: Binary = binary("sub");
export const mul: Binary = binary("mul");
export const maximum: Binary = binary("max");
export const minimum: Binary = binary("min");
/** Remainder with the sign of the divisor, as in Python. */
export const mod: Binary = binary("mod");
export const and: Binary = binary("and");
export const or: Binary = binary("or");
export const xor: Binary = binary("xor");
export const shl: Binary = binary("shl");
/** Logical (unsigned) right shift. */
export const shr: Binary = binary("shr");
/** Integer division, truncating; floats divide as usual. */
export const quotient: Binary = binary("div");

/** True division: integers are cast to float. */
export function div(a: Operand, b: Operand): Tensor {
  const [x, y] = pair("div", a, b);
  return record1("binary", { fn: "div" }, isFloat(x.dtype) ? [x, y] : [toFloat(x), toFloat(y)]);
}

export function pow(a: Operand, b: Operand): Tensor {
  if (b === 2 && typeof a === "object") return square(a);
  if (b === 1 && typeof a === "object") return a;
  if (b === 0.5 && typeof a === "object") return sqrt(a);
  if (b === -1 && typeof a === "object") return reciprocal(a);
  return record1("binary", { fn: "pow" }, pair("pow", a, b));
}

export function atan2(y: Operand, x: Operand): Tensor {
  const [a, b] = pair("atan2", y, x);
  return record1("binary", { fn: "atan2" }, [toFloat(a), toFloat(b)]);
}

const compare =
  (fn: CompareFn) =>
  (a: Operand, b: Operand): Tensor =>
    record1("compare", { fn }, pair(fn, a, b));
export const equal: Binary = compare("eq");
export const notEqual: Binary = compare("ne");
export const less: Binary = compare("lt");
export const lessEqual: Binary = compare("le");
export const greater: Binary = compare("gt");
export const greaterEqual: Binary = compare("ge");
export const isNaN = (x: Tensor): Tensor => notEqual(x, x);

/** `a` where `condition` holds, else `b`; all three broadcast. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  let [x, y]: [Tensor, Tensor] =
    typeof a !== "object" && typeof b !== "object"
      ? [full([], Number(a), { device: condition.device }), full([], Number(b), { device: condition.device })]
      : pair("where", a, b);
  const shape = broadcastShapes("where", condition.shape, x.shape);
  [x, y] = [broadcastTo(x, shape), broadcastTo(y, shape)];
  return record1("select", {}, [broadcastTo(cast(condition, "bool"), shape), x, y]);
}

/** Limits values to `low..high`, to `high` where `low` is above it; the slope is 1 at both bounds too. NaN stays NaN. */
export const clamp = (x: Tensor, low: number, high: number): Tensor =>
  where(less(x, low), Math.min(low, high), where(greater(x, high), high, x));
/** The larger of `x` and 0, with slope 0 at 0; NaN stays NaN. */
export const relu = (x: Tensor): Tensor => where(lessEqual(x, 0), 0, x);
/** `x * sigmoid(x)` (Elfwing et al. 2017). */
export const silu = (x: Tensor): Tensor => mul(x, sigmoid(x));
/** `log(1 + exp(x))` without overflow. */
export const softplus = (x: Tensor): Tensor => add(maximum(x, 0), log1p(exp(neg(abs(x)))));

/** Gaussian error linear unit (Hendrycks & Gimpel 2016); `approximate` uses the tanh form. */
export function gelu(x: Tensor, options: { readonly approximate?: boolean } = {}): Tensor {
  if (!options.approximate) return mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1));
  const inner = mul(add(x, mul(mul(square(x), x), 0.044715)), Math.sqrt(2 / Math.PI));
  return mul(mul(x, 0.5), add(tanh(inner), 1));
}
