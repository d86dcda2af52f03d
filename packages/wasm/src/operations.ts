// The operation namespaces of a function builder (`f.f32x4.add(a, b)`), made from the opcode tables. Vector operations act on
// the parts of their operands one by one, low half first and adjacent, as the revectorizer wants them.

import type { FunctionBuilder } from "./function-builder.ts";
import {
  F32_BINARY,
  F32_COMPARE,
  F32_UNARY,
  F32X4_BINARY,
  F32X4_UNARY,
  F64_BINARY,
  F64_COMPARE,
  F64_UNARY,
  F64X2_BINARY,
  F64X2_UNARY,
  I16X8_BINARY,
  I16X8_UNARY,
  I32_BINARY,
  I32_UNARY,
  I32X4_BINARY,
  I32X4_SHIFT,
  I32X4_UNARY,
  I64_BINARY,
  I64X2_BINARY,
  I64X2_SHIFT,
  I8X16_BINARY,
  V128_BINARY,
} from "./opcodes.ts";
import type { F32, F64, I32, I64, Value, ValueType, Vec, VecOperand } from "./values.ts";

type Unary<Table, A, R> = { readonly [K in keyof Table]: (a: A) => R };
type Binary<Table, A, R> = { readonly [K in keyof Table]: (a: A, b: A) => R };
type Shift<Table> = { readonly [K in keyof Table]: (a: Vec, bits: I32) => Vec };

/** Integer scalars; comparisons give 0 or 1. */
export type I32Ops = Unary<typeof I32_UNARY, I32, Value<"i32">> &
  Binary<typeof I32_BINARY, I32, Value<"i32">> & {
    readonly constant: (value: number) => Value<"i32">;
    readonly reinterpretF32: (a: F32) => Value<"i32">;
    /** Truncates towards zero; NaN gives 0, values out of range the nearest end. */
    readonly truncSatF32S: (a: F32) => Value<"i32">;
    readonly truncSatF32U: (a: F32) => Value<"i32">;
    readonly truncSatF64S: (a: F64) => Value<"i32">;
    readonly wrapI64: (a: I64) => Value<"i32">;
    /** a * b + c for addresses; powers of two become shifts, zero terms vanish. */
    readonly muladd: (a: I32, b: number, c: I32) => Value<"i32">;
  };
export type I64Ops = Binary<typeof I64_BINARY, I64, Value<"i64">> & {
  readonly extendI32S: (a: I32) => Value<"i64">;
  readonly extendI32U: (a: I32) => Value<"i64">;
};
export type F32Ops = Unary<typeof F32_UNARY, F32, Value<"f32">> &
  Binary<typeof F32_BINARY, F32, Value<"f32">> &
  Binary<typeof F32_COMPARE, F32, Value<"i32">> & {
    readonly constant: (value: number) => Value<"f32">;
    readonly convertI32S: (a: I32) => Value<"f32">;
    readonly convertI32U: (a: I32) => Value<"f32">;
    readonly reinterpretI32: (a: I32) => Value<"f32">;
    readonly demoteF64: (a: F64) => Value<"f32">;
  };
export type F64Ops = Unary<typeof F64_UNARY, F64, Value<"f64">> &
  Binary<typeof F64_BINARY, F64, Value<"f64">> &
  Binary<typeof F64_COMPARE, F64, Value<"i32">> & {
    readonly convertI32S: (a: I32) => Value<"f64">;
    readonly convertI32U: (a: I32) => Value<"f64">;
    readonly promoteF32: (a: F32) => Value<"f64">;
  };

/** float32 lanes. Comparisons give lanes of all ones or all zeros, to be used with `v128` operations. */
export type F32x4Ops = Unary<typeof F32X4_UNARY, VecOperand, Vec> &
  Binary<typeof F32X4_BINARY, VecOperand, Vec> & {
    /** a * b + c, fused where the target has relaxed SIMD. */
    readonly madd: (a: VecOperand, b: VecOperand, c: VecOperand) => Vec;
    /** c - a * b, fused where the target has relaxed SIMD. */
    readonly nmadd: (a: VecOperand, b: VecOperand, c: VecOperand) => Vec;
    readonly splat: (a: F32, parts?: number) => Vec;
    readonly constant: (value: number, parts?: number) => Vec;
    /** Lane `lane` counted over all parts. */
    readonly extractLane: (a: Vec, lane: number) => Value<"f32">;
    readonly replaceLane: (a: Vec, lane: number, value: F32) => Vec;
  };
export type I32x4Ops = Unary<typeof I32X4_UNARY, VecOperand, Vec> &
  Binary<typeof I32X4_BINARY, VecOperand, Vec> &
  Shift<typeof I32X4_SHIFT> & {
    readonly splat: (a: I32, parts?: number) => Vec;
    readonly constant: (value: number, parts?: number) => Vec;
    readonly extractLane: (a: Vec, lane: number) => Value<"i32">;
    readonly replaceLane: (a: Vec, lane: number, value: I32) => Vec;
    /** Bit i = top bit of lane i, over all parts. */
    readonly bitmask: (a: Vec) => Value<"i32">;
  };
export type I16x8Ops = Unary<typeof I16X8_UNARY, Vec, Vec> & Binary<typeof I16X8_BINARY, Vec, Vec>;
export type I8x16Ops = Binary<typeof I8X16_BINARY, Vec, Vec>;
export type I64x2Ops = Binary<typeof I64X2_BINARY, Vec, Vec> & Shift<typeof I64X2_SHIFT>;
export type F64x2Ops = Unary<typeof F64X2_UNARY, Vec, Vec> &
  Binary<typeof F64X2_BINARY, Vec, Vec> & {
    /** a * b + c, fused where the target has relaxed SIMD. */
    readonly madd: (a: Vec, b: Vec, c: Vec) => Vec;
    /** c - a * b, fused where the target has relaxed SIMD. */
    readonly nmadd: (a: Vec, b: Vec, c: Vec) => Vec;
    readonly splat: (a: F64, parts?: number) => Vec;
    readonly extractLane: (a: Vec, lane: number) => Value<"f64">;
  };
/** Bitwise operations on whole vectors; number operands are int32 lanes. */
export type V128Ops = Binary<typeof V128_BINARY, VecOperand, Vec> & {
  readonly not: (a: Vec) => Vec;
  /** Bits of `a` where the mask is 1, else of `b`. */
  readonly select: (mask: Vec, a: VecOperand, b: VecOperand) => Vec;
  /** 32-bit lanes picked within each part: 0-3 from `a`, 4-7 from `b`. The README lists which pair. */
  readonly shuffle: (a: Vec, b: Vec, lanes: readonly [number, number, number, number]) => Vec;
  /** Bytes picked within each part: 0-15 from `a`, 16-31 from `b`. */
  readonly shuffleBytes: (a: Vec, b: Vec, bytes: readonly number[]) => Vec;
  readonly swizzleBytes: (a: Vec, indices: Vec) => Vec;
  /** 1 if any bit of any part is set. */
  readonly anyTrue: (a: Vec) => Value<"i32">;
};

const entriesOf = <K extends string>(table: { readonly [P in K]: number }): [K, number][] =>
  Object.entries(table) as [K, number][];

function scalarOps<K extends string, A extends Value | number | bigint, R extends ValueType>(
  f: FunctionBuilder,
  table: { readonly [P in K]: number },
  operands: number,
  type: ValueType,
  result: R,
): { readonly [P in K]: (...args: A[]) => Value<R> } {
  const ops = {} as { [P in K]: (...args: A[]) => Value<R> };
  for (const [name, opcode] of entriesOf(table))
    ops[name] = (...args) => {
      for (let i = 0; i < operands; i++) f.push(args[i]!, type);
      f.code.byte(opcode);
      return f.pop(result);
    };
  return ops;
}

/** Emits a vector opcode (prefix 0xfd) on every part of the operands. */
function perPart(
  f: FunctionBuilder,
  opcode: number,
  lane: "f32x4" | "i32x4",
  operands: readonly VecOperand[],
): Vec {
  const known = operands.find((o) => typeof o === "object");
  const count = known ? known.parts.length : f.width;
  const vectors = operands.map((o) => f.vector(o, lane, count));
  return {
    parts: Array.from({ length: count }, (_, i) => {
      for (const v of vectors) f.push(v.parts[i]!, "v128");
      f.code.byte(0xfd);
      f.code.unsigned(opcode);
      return f.pop("v128");
    }),
  };
}

function vecOps<K extends string>(
  f: FunctionBuilder,
  table: { readonly [P in K]: number },
  operands: number,
  lane: "f32x4" | "i32x4",
): { readonly [P in K]: (...args: VecOperand[]) => Vec } {
  const ops = {} as { [P in K]: (...args: VecOperand[]) => Vec };
  for (const [name, opcode] of entriesOf(table))
    ops[name] = (...args) => perPart(f, opcode, lane, args.slice(0, operands));
  return ops;
}

function shiftOps<K extends string>(
  f: FunctionBuilder,
  table: { readonly [P in K]: number },
): { readonly [P in K]: (a: Vec, bits: I32) => Vec } {
  const ops = {} as { [P in K]: (a: Vec, bits: I32) => Vec };
  for (const [name, opcode] of entriesOf(table))
    ops[name] = (a, bits) => ({
      parts: a.parts.map((p) => {
        f.push(p, "v128");
        f.push(bits, "i32");
        f.code.byte(0xfd);
        f.code.unsigned(opcode);
        return f.pop("v128");
      }),
    });
  return ops;
}

const convert =
  <A extends Value | number | bigint, R extends ValueType>(
    f: FunctionBuilder,
    from: ValueType,
    to: R,
    ...opcode: number[]
  ): ((a: A) => Value<R>) =>
  (a) => {
    f.push(a, from);
    f.code.byte(...opcode);
    return f.pop(to);
  };

const splat =
  <A extends Value | number | bigint>(f: FunctionBuilder, type: ValueType, opcode: number) =>
  (a: A, parts: number = f.width): Vec => {
    f.push(a, type);
    f.code.byte(0xfd, opcode);
    const local = f.pop("v128");
    return { parts: Array.from({ length: parts }, () => local) };
  };

const extractLane =
  <R extends ValueType>(f: FunctionBuilder, opcode: number, lanes: number, type: R) =>
  (a: Vec, lane: number): Value<R> => {
    f.push(a.parts[Math.floor(lane / lanes)]!, "v128");
    f.code.byte(0xfd, opcode, lane % lanes);
    return f.pop(type);
  };

const replaceLane =
  <A extends Value | number>(f: FunctionBuilder, opcode: number, type: ValueType) =>
  (a: Vec, lane: number, value: A): Vec => ({
    parts: a.parts.map((p, i) => {
      if (i !== lane >> 2) return p;
      f.push(p, "v128");
      f.push(value, type);
      f.code.byte(0xfd, opcode, lane % 4);
      return f.pop("v128");
    }),
  });

export function bindI32(f: FunctionBuilder): I32Ops {
  const binary = scalarOps<keyof typeof I32_BINARY, I32, "i32">(f, I32_BINARY, 2, "i32", "i32");
  return {
    ...scalarOps<keyof typeof I32_UNARY, I32, "i32">(f, I32_UNARY, 1, "i32", "i32"),
    ...binary,
    constant: (value) => {
      f.push(value, "i32");
      return f.pop("i32");
    },
    reinterpretF32: convert<F32, "i32">(f, "f32", "i32", 0xbc),
    truncSatF32S: convert<F32, "i32">(f, "f32", "i32", 0xfc, 0),
    truncSatF32U: convert<F32, "i32">(f, "f32", "i32", 0xfc, 1),
    truncSatF64S: convert<F64, "i32">(f, "f64", "i32", 0xfc, 2),
    wrapI64: convert<I64, "i32">(f, "i64", "i32", 0xa7),
    muladd: (a, b, c) => {
      const power = Math.log2(b);
      const product = b === 1 ? a : Number.isInteger(power) ? binary.shl(a, power) : binary.mul(a, b);
      return binary.add(product, c);
    },
  };
}

export function bindI64(f: FunctionBuilder): I64Ops {
  return {
    ...scalarOps<keyof typeof I64_BINARY, I64, "i64">(f, I64_BINARY, 2, "i64", "i64"),
    extendI32S: convert<I32, "i64">(f, "i32", "i64", 0xac),
    extendI32U: convert<I32, "i64">(f, "i32", "i64", 0xad),
  };
}

export function bindF32(f: FunctionBuilder): F32Ops {
  return {
    ...scalarOps<keyof typeof F32_UNARY, F32, "f32">(f, F32_UNARY, 1, "f32", "f32"),
    ...scalarOps<keyof typeof F32_BINARY, F32, "f32">(f, F32_BINARY, 2, "f32", "f32"),
    ...scalarOps<keyof typeof F32_COMPARE, F32, "i32">(f, F32_COMPARE, 2, "f32", "i32"),
    constant: (value) => {
      f.push(value, "f32");
      return f.pop("f32");
    },
    convertI32S: convert<I32, "f32">(f, "i32", "f32", 0xb2),
    convertI32U: convert<I32, "f32">(f, "i32", "f32", 0xb3),
    reinterpretI32: convert<I32, "f32">(f, "i32", "f32", 0xbe),
    demoteF64: convert<F64, "f32">(f, "f64", "f32", 0xb6),
  };
}

export function bindF64(f: FunctionBuilder): F64Ops {
  return {
    ...scalarOps<keyof typeof F64_UNARY, F64, "f64">(f, F64_UNARY, 1, "f64", "f64"),
    ...scalarOps<keyof typeof F64_BINARY, F64, "f64">(f, F64_BINARY, 2, "f64", "f64"),
    ...scalarOps<keyof typeof F64_COMPARE, F64, "i32">(f, F64_COMPARE, 2, "f64", "i32"),
    convertI32S: convert<I32, "f64">(f, "i32", "f64", 0xb7),
    convertI32U: convert<I32, "f64">(f, "i32", "f64", 0xb8),
    promoteF32: convert<F32, "f64">(f, "f32", "f64", 0xbb),
  };
}

export function bindF32x4(f: FunctionBuilder): F32x4Ops {
  const binary = vecOps(f, F32X4_BINARY, 2, "f32x4");
  return {
    ...vecOps(f, F32X4_UNARY, 1, "f32x4"),
    ...binary,
    madd: (a, b, c) =>
      f.target.relaxed ? perPart(f, 0x105, "f32x4", [a, b, c]) : binary.add(binary.mul(a, b), c),
    nmadd: (a, b, c) =>
      f.target.relaxed ? perPart(f, 0x106, "f32x4", [a, b, c]) : binary.sub(c, binary.mul(a, b)),
    splat: splat<F32>(f, "f32", 19),
    constant: (value, parts) => f.constant(value, "f32x4", parts),
    extractLane: extractLane(f, 31, 4, "f32"),
    replaceLane: replaceLane<F32>(f, 32, "f32"),
  };
}

export function bindI32x4(f: FunctionBuilder): I32x4Ops {
  return {
    ...vecOps(f, I32X4_UNARY, 1, "i32x4"),
    ...vecOps(f, I32X4_BINARY, 2, "i32x4"),
    ...shiftOps(f, I32X4_SHIFT),
    splat: splat<I32>(f, "i32", 17),
    constant: (value, parts) => f.constant(value, "i32x4", parts),
    extractLane: extractLane(f, 27, 4, "i32"),
    replaceLane: replaceLane<I32>(f, 28, "i32"),
    bitmask: (a) => {
      a.parts.forEach((p, i) => {
        f.push(p, "v128");
        f.code.byte(0xfd, 0xa4, 1);
        if (i > 0) f.code.byte(0x41, 4 * i, 0x74, 0x72);
      });
      return f.pop("i32");
    },
  };
}

export function bindI16x8(f: FunctionBuilder): I16x8Ops {
  return { ...vecOps(f, I16X8_UNARY, 1, "i32x4"), ...vecOps(f, I16X8_BINARY, 2, "i32x4") };
}

export function bindI8x16(f: FunctionBuilder): I8x16Ops {
  return vecOps(f, I8X16_BINARY, 2, "i32x4");
}

export function bindI64x2(f: FunctionBuilder): I64x2Ops {
  return { ...vecOps(f, I64X2_BINARY, 2, "i32x4"), ...shiftOps(f, I64X2_SHIFT) };
}

export function bindF64x2(f: FunctionBuilder): F64x2Ops {
  const binary = vecOps(f, F64X2_BINARY, 2, "i32x4");
  return {
    ...vecOps(f, F64X2_UNARY, 1, "i32x4"),
    ...binary,
    madd: (a, b, c) =>
      f.target.relaxed ? perPart(f, 0x107, "i32x4", [a, b, c]) : binary.add(binary.mul(a, b), c),
    nmadd: (a, b, c) =>
      f.target.relaxed ? perPart(f, 0x108, "i32x4", [a, b, c]) : binary.sub(c, binary.mul(a, b)),
    splat: splat<F64>(f, "f64", 20),
    extractLane: extractLane(f, 33, 2, "f64"),
  };
}

export function bindV128(f: FunctionBuilder): V128Ops {
  const shuffleBytes = (a: Vec, b: Vec, bytes: readonly number[]): Vec => ({
    parts: a.parts.map((p, i) => {
      f.push(p, "v128");
      f.push(b.parts[i]!, "v128");
      f.code.byte(0xfd, 13, ...bytes);
      return f.pop("v128");
    }),
  });
  return {
    ...vecOps(f, V128_BINARY, 2, "i32x4"),
    not: (a) => perPart(f, 77, "i32x4", [a]),
    select: (mask, a, b) => perPart(f, 82, "f32x4", [a, b, mask]),
    shuffle: (a, b, lanes) =>
      shuffleBytes(
        a,
        b,
        lanes.flatMap((l) => [4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3]),
      ),
    shuffleBytes,
    swizzleBytes: (a, indices) => perPart(f, 14, "i32x4", [a, indices]),
    anyTrue: (a) => {
      a.parts.forEach((p, i) => {
        f.push(p, "v128");
        f.code.byte(0xfd, 83);
        if (i > 0) f.code.byte(0x72);
      });
      return f.pop("i32");
    },
  };
}
