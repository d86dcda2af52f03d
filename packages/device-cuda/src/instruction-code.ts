// CUDA C++ of every instruction of a fused loop. Meanings are those of the reference device: integers wrap, integer division
// truncates and gives 0 for a zero divisor, max and min propagate NaN, casts saturate. Halves are computed as float.

import {
  DTypeError,
  fromBf16Bits,
  isFloat,
  toBf16Bits,
  type BinaryFn,
  type CompareFn,
  type DType,
  type Instruction,
  type UnaryFn,
} from "@everlong/core";
import type { CudaWord } from "@everlong/kernels/cuda";

/** The C++ type of a value in registers. */
export const registerType = (dtype: DType): "float" | "int" => (isFloat(dtype) ? "float" : "int");

/** How a value is brought back into its dtype after arithmetic. */
const wrapped = (dtype: DType, x: string): string => (dtype === "u8" ? `(${x}) & 255` : x);

function roundTo(dtype: DType, x: string): string {
  return dtype === "f16" ? `round_f16(${x})` : dtype === "bf16" ? `round_bf16(${x})` : x;
}

const floatUnary: { readonly [F in UnaryFn]: (x: string) => string } = {
  neg: (x) => `-${x}`,
  abs: (x) => `fabsf(${x})`,
  sign: (x) => `sign_(${x})`,
  exp: (x) => `expf(${x})`,
  expm1: (x) => `expm1f(${x})`,
  log: (x) => `logf(${x})`,
  log1p: (x) => `log1pf(${x})`,
  sqrt: (x) => `sqrtf(${x})`,
  rsqrt: (x) => `(1.f / sqrtf(${x}))`,
  reciprocal: (x) => `(1.f / ${x})`,
  sin: (x) => `sinf(${x})`,
  cos: (x) => `cosf(${x})`,
  tanh: (x) => `tanhf(${x})`,
  sigmoid: (x) => `sigmoid_(${x})`,
  erf: (x) => `erff(${x})`,
  floor: (x) => `floorf(${x})`,
  ceil: (x) => `ceilf(${x})`,
  round: (x) => `rintf(${x})`,
  not: (x) => `(${x} == 0.f ? 1.f : 0.f)`,
};

function unary(fn: UnaryFn, dtype: DType, x: string): string {
  if (isFloat(dtype)) return floatUnary[fn](x);
  if (dtype === "bool") {
    if (fn === "not") return `!${x}`;
    throw new DTypeError(fn, "needs numbers", { got: "bool" });
  }
  switch (fn) {
    case "neg":
      return wrapped(dtype, `(int)(0u - (u32)${x})`);
    case "abs":
      return dtype === "u8" ? x : `(${x} < 0 ? (int)(0u - (u32)${x}) : ${x})`;
    case "sign":
      return `sign_(${x})`;
    case "not":
      return wrapped(dtype, `~${x}`);
    case "floor":
    case "ceil":
    case "round":
      return x;
    default:
      throw new DTypeError(fn, "needs floats", { got: dtype });
  }
}

const floatBinary: { readonly [F in BinaryFn]?: (a: string, b: string) => string } = {
  add: (a, b) => `${a} + ${b}`,
  sub: (a, b) => `${a} - ${b}`,
  mul: (a, b) => `${a} * ${b}`,
  div: (a, b) => `${a} / ${b}`,
  mod: (a, b) => `mod_(${a}, ${b})`,
  pow: (a, b) => `pow_(${a}, ${b})`,
  max: (a, b) => `max_(${a}, ${b})`,
  min: (a, b) => `min_(${a}, ${b})`,
  atan2: (a, b) => `atan2f(${a}, ${b})`,
};

const wordOp =
  (op: string): ((a: string, b: string) => string) =>
  (a, b) =>
    `(int)((u32)${a} ${op} (u32)${b})`;

const integerBinary: { readonly [F in BinaryFn]?: (a: string, b: string) => string } = {
  add: wordOp("+"),
  sub: wordOp("-"),
  mul: wordOp("*"),
  div: (a, b) => `div_(${a}, ${b})`,
  mod: (a, b) => `mod_(${a}, ${b})`,
  pow: (a, b) => `pow_(${a}, ${b})`,
  max: (a, b) => `max_(${a}, ${b})`,
  min: (a, b) => `min_(${a}, ${b})`,
  and: (a, b) => `${a} & ${b}`,
  or: (a, b) => `${a} | ${b}`,
  xor: (a, b) => `${a} ^ ${b}`,
  shl: (a, b) => `(int)((u32)${a} << (${b} & 31))`,
  shr: (a, b) => `(int)((u32)${a} >> (${b} & 31))`,
};

const boolBinary: { readonly [F in BinaryFn]?: (a: string, b: string) => string } = {
  and: (a, b) => `${a} & ${b}`,
  min: (a, b) => `${a} & ${b}`,
  mul: (a, b) => `${a} & ${b}`,
  or: (a, b) => `${a} | ${b}`,
  max: (a, b) => `${a} | ${b}`,
  xor: (a, b) => `${a} ^ ${b}`,
};

function binary(fn: BinaryFn, dtype: DType, a: string, b: string): string {
  const table = isFloat(dtype) ? floatBinary : dtype === "bool" ? boolBinary : integerBinary;
  const emit = table[fn];
  if (!emit) throw new DTypeError(fn, "has no meaning for this dtype", { got: dtype });
  return isFloat(dtype) ? emit(a, b) : wrapped(dtype, emit(a, b));
}

const COMPARE: { readonly [F in CompareFn]: string } = {
  eq: "==",
  ne: "!=",
  lt: "<",
  le: "<=",
  gt: ">",
  ge: ">=",
};

function castCode(from: DType, to: DType, x: string): string {
  if (to === "bool") return `(${x} != 0)`;
  if (isFloat(to)) return roundTo(to, isFloat(from) ? x : `(float)${x}`);
  if (!isFloat(from)) return to === "u8" ? `${x} & 255` : x;
  return to === "u8" ? `to_byte(${x})` : `to_int(${x})`;
}

/** Whole exponents that need no logarithm. */
const POWERS: Readonly<Record<string, (x: string) => string>> = {
  "-1": (x) => `1.f / ${x}`,
  "0": () => "1.f",
  "1": (x) => x,
  "2": (x) => `${x} * ${x}`,
  "3": (x) => `${x} * ${x} * ${x}`,
  "4": (x) => `(${x} * ${x}) * (${x} * ${x})`,
};

/** A constant as registers hold it. */
function constantWord(dtype: DType, value: number): CudaWord {
  switch (dtype) {
    case "i32":
      return value | 0;
    case "u8":
      return value & 255;
    case "bool":
      return value === 0 ? 0 : 1;
    case "bf16":
      return { f32: fromBf16Bits(toBf16Bits(value)) };
    case "f16":
      return { f32: Math.f16round(value) };
    default:
      return { f32: value };
  }
}

/** The code of a loop with its run-time data taken out. */
export interface LoopCode {
  /** Constants, as argument words. */
  readonly words: readonly CudaWord[];
  /** Axis of each iota, in order. */
  readonly iotas: readonly number[];
  /** One definition `type v<i> = ...;` per instruction. */
  readonly lines: readonly string[];
}

/**
 * Turns instructions into C++ definitions `v0, v1, ...`.
 * @param load the expression of a loaded argument
 * @param word the expression of constant number i, as float or int
 * @param index the expression of the position along the axis of iota number i, as an integer that becomes a float or an int
 */
export function emitCode(
  code: readonly Instruction[],
  load: (arg: number) => string,
  word: (i: number, type: "float" | "int") => string,
  index: (iota: number, type: "float" | "int") => string,
): LoopCode {
  const words: CudaWord[] = [];
  const iotas: number[] = [];
  const v = (i: number): string => `v${i}`;
  const expression = (i: Instruction): string => {
    switch (i.op) {
      case "load":
        return load(i.arg);
      case "const": {
        words.push(constantWord(i.dtype, i.value));
        return word(words.length - 1, registerType(i.dtype));
      }
      case "iota": {
        iotas.push(i.axis);
        const whole = !isFloat(i.dtype) && Number.isInteger(i.scale) && Number.isInteger(i.start);
        const type = whole ? "int" : "float";
        const at = index(iotas.length - 1, type);
        words.push(whole ? i.scale : { f32: i.scale }, whole ? i.start : { f32: i.start });
        const value = `${word(words.length - 1, type)} + ${word(words.length - 2, type)} * ${whole ? at : `(float)${at}`}`;
        if (isFloat(i.dtype)) return roundTo(i.dtype, value);
        return whole ? castCode("i32", i.dtype, `(${value})`) : castCode("f32", i.dtype, `(${value})`);
      }
      case "unary":
        return unary(i.fn, i.dtype, v(i.a));
      case "binary": {
        const exponent = code[i.b]!;
        if (i.fn === "pow" && isFloat(i.dtype) && exponent.op === "const") {
          const power = POWERS[String(exponent.value)];
          if (power) return power(v(i.a));
        }
        return binary(i.fn, i.dtype, v(i.a), v(i.b));
      }
      case "compare":
        return `(${v(i.a)} ${COMPARE[i.fn]} ${v(i.b)})`;
      case "select":
        return `(${v(i.a)} ? ${v(i.b)} : ${v(i.c)})`;
      case "cast":
        return castCode(i.from, i.dtype, v(i.a));
    }
  };
  const lines = code.map((i, n) => `const ${registerType(i.dtype)} v${n} = ${expression(i)};`);
  return { words, iotas, lines };
}
