// What a function body computes with: typed locals, and vectors made of one or two of them.

/** A WebAssembly value type that the emitter handles. */
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";

/** Binary code of each value type. */
export const TYPE_CODE: { readonly [T in ValueType]: number } = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

/** A typed local: the result of an op (never changes), a parameter, or a variable. */
export interface Value<T extends ValueType = ValueType> {
  readonly type: T;
  readonly id: number;
}

/** A {@link Value} that `set` may change. */
export interface Variable<T extends ValueType = ValueType> extends Value<T> {
  readonly mutable: true;
}

/** An i32 operand: a local or a constant. */
export type I32 = Value<"i32"> | number;
/** An i64 operand: a local or a constant. */
export type I64 = Value<"i64"> | bigint;
/** An f32 operand: a local or a constant (rounded to float32). */
export type F32 = Value<"f32"> | number;
/** An f64 operand: a local or a constant. */
export type F64 = Value<"f64"> | number;

/**
 * A vector of `parts.length` v128 values, the low lanes first. With the target width 2 a vector is a pair, that is 8 float32
 * lanes; every op on it is emitted low half then high half, which V8's revectorizer fuses into one 256-bit instruction.
 */
export interface Vec {
  readonly parts: readonly Value<"v128">[];
}

/** A {@link Vec} that `setVec` may change (an accumulator). */
export interface VecVariable extends Vec {
  readonly parts: readonly Variable<"v128">[];
}

/** A vector operand: a vector, or a number put into every lane. */
export type VecOperand = Vec | number;

/** What the engine runs best. */
export interface Target {
  /** v128 values per vector: 2 where the revectorizer is on, else 1. */
  readonly width: 1 | 2;
  /** Whether relaxed SIMD (fused multiply-add) may be used. */
  readonly relaxed: boolean;
}
