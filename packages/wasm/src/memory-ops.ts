// Loads, stores and atomics. `offset` is a constant number of bytes added to the address. Vector stores put the high half first:
// a low half stored first keeps an extra 128-bit store when the revectorizer pairs the two.

import type { FunctionBuilder } from "./function-builder.ts";
import {
  ATOMIC_RMW,
  I32_LOAD,
  I32_STORE,
  VEC_LOAD,
  VEC_LOAD_LANE,
  VEC_LOAD_SPLAT,
  VEC_LOAD_ZERO,
  VEC_STORE_LANE,
} from "./opcodes.ts";
import type { F32, F64, I32, I64, Value, ValueType, Vec, VecOperand } from "./values.ts";

/** Memory operations of a function builder. Addresses and offsets are in bytes. */
export interface MemoryOps {
  readonly i32: { readonly [K in keyof typeof I32_LOAD]: (address: I32, offset?: number) => Value<"i32"> } & {
    readonly [K in keyof typeof I32_STORE]: (address: I32, offset: number, value: I32) => void;
  };
  readonly i64: {
    readonly load: (address: I32, offset?: number) => Value<"i64">;
    readonly store: (address: I32, offset: number, value: I64) => void;
  };
  readonly f32: {
    readonly load: (address: I32, offset?: number) => Value<"f32">;
    readonly store: (address: I32, offset: number, value: F32) => void;
  };
  readonly f64: {
    readonly load: (address: I32, offset?: number) => Value<"f64">;
    readonly store: (address: I32, offset: number, value: F64) => void;
  };
  /**
   * Vector loads; the parts are adjacent in memory. `load8x8U` and the like widen every element to twice its bits;
   * `load32Splat` and the like fill every lane of every part from one element.
   */
  readonly vec: {
    readonly [K in keyof typeof VEC_LOAD]: (address: I32, offset?: number, parts?: number) => Vec;
  } & {
    readonly [K in keyof typeof VEC_LOAD_SPLAT]: (address: I32, offset?: number, parts?: number) => Vec;
  } & {
    /** One v128 with the element in lane 0 and zeros elsewhere. */
    readonly [K in keyof typeof VEC_LOAD_ZERO]: (address: I32, offset?: number) => Vec;
  } & {
    /** Replaces one lane (of that many bits) of part 0 by memory. */
    readonly [K in keyof typeof VEC_LOAD_LANE]: (
      address: I32,
      offset: number,
      into: Vec,
      lane: number,
    ) => Vec;
  } & {
    /** Stores one lane (of that many bits), counted over all parts. */
    readonly [K in keyof typeof VEC_STORE_LANE]: (
      address: I32,
      offset: number,
      from: Vec,
      lane: number,
    ) => void;
  } & { readonly store: (address: I32, offset: number, value: VecOperand) => void };
  /** Atomics on i32 at 4-byte aligned addresses. */
  readonly atomic: {
    readonly load: (address: I32, offset?: number) => Value<"i32">;
    readonly store: (address: I32, offset: number, value: I32) => void;
    /** Returns the old value. */
    readonly compareExchange: (address: I32, offset: number, expected: I32, value: I32) => Value<"i32">;
    /** Sleeps while the word equals `expected`; `timeoutNs` < 0 = for ever. 0 woken, 1 not equal, 2 timed out. */
    readonly wait: (address: I32, offset: number, expected: I32, timeoutNs: I64) => Value<"i32">;
    /** Wakes up to `count` sleepers; the number woken. */
    readonly notify: (address: I32, offset: number, count: I32) => Value<"i32">;
    readonly fence: () => void;
  } & { readonly [K in keyof typeof ATOMIC_RMW]: (address: I32, offset: number, value: I32) => Value<"i32"> };
}

type Load<K extends string> = { readonly [P in K]: readonly [number, number] };
const entriesOf = <K extends string>(table: Load<K>): [K, readonly [number, number]][] =>
  Object.entries(table) as [K, readonly [number, number]][];

export function bindMemory(f: FunctionBuilder): MemoryOps {
  const access = (prefix: number | undefined, opcode: number, align: number, offset: number): void => {
    if (prefix !== undefined) f.code.byte(prefix);
    if (prefix === 0xfd) f.code.unsigned(opcode);
    else f.code.byte(opcode);
    f.code.byte(align);
    f.code.unsigned(offset);
  };
  const scalar = <T extends ValueType, V extends Value | number | bigint>(
    type: T,
    load: number,
    store: number,
    align: number,
  ): {
    readonly load: (address: I32, offset?: number) => Value<T>;
    readonly store: (address: I32, offset: number, value: V) => void;
  } => ({
    load: (address, offset = 0) => {
      f.push(address, "i32");
      access(undefined, load, align, offset);
      return f.pop(type);
    },
    store: (address, offset, value) => {
      f.push(address, "i32");
      f.push(value, type);
      access(undefined, store, align, offset);
    },
  });

  const i32: Record<string, unknown> = {};
  for (const [name, [opcode, align]] of entriesOf(I32_LOAD)) i32[name] = scalar("i32", opcode, 0, align).load;
  for (const [name, [opcode, align]] of entriesOf(I32_STORE))
    i32[name] = scalar("i32", 0, opcode, align).store;

  const vec: Record<string, unknown> = {};
  for (const [name, [opcode, bytes]] of entriesOf(VEC_LOAD))
    vec[name] = (address: I32, offset = 0, parts: number = f.width): Vec => ({
      parts: Array.from({ length: parts }, (_, i) => {
        f.push(address, "i32");
        access(0xfd, opcode, 2, offset + i * bytes);
        return f.pop("v128");
      }),
    });
  for (const [name, [opcode, align]] of entriesOf(VEC_LOAD_SPLAT))
    vec[name] = (address: I32, offset = 0, parts: number = f.width): Vec => {
      f.push(address, "i32");
      access(0xfd, opcode, align, offset);
      const local = f.pop("v128");
      return { parts: Array.from({ length: parts }, () => local) };
    };
  for (const [name, [opcode, align]] of entriesOf(VEC_LOAD_ZERO))
    vec[name] = (address: I32, offset = 0): Vec => {
      f.push(address, "i32");
      access(0xfd, opcode, align, offset);
      return { parts: [f.pop("v128")] };
    };
  for (const [name, [opcode, align]] of entriesOf(VEC_LOAD_LANE))
    vec[name] = (address: I32, offset: number, into: Vec, lane: number): Vec => {
      f.push(address, "i32");
      f.push(into.parts[0]!, "v128");
      access(0xfd, opcode, align, offset);
      f.code.byte(lane);
      return { parts: [f.pop("v128"), ...into.parts.slice(1)] };
    };
  for (const [name, [opcode, align]] of entriesOf(VEC_STORE_LANE))
    vec[name] = (address: I32, offset: number, from: Vec, lane: number): void => {
      const lanes = 16 >> align;
      f.push(address, "i32");
      f.push(from.parts[Math.floor(lane / lanes)]!, "v128");
      access(0xfd, opcode, align, offset);
      f.code.byte(lane % lanes);
    };
  vec["store"] = (address: I32, offset: number, value: VecOperand): void => {
    const from = typeof value === "number" ? f.constant(value) : value;
    if (typeof value !== "number") f.noteStore(from);
    for (let i = from.parts.length - 1; i >= 0; i--) {
      f.push(address, "i32");
      f.push(from.parts[i]!, "v128");
      access(0xfd, 11, 2, offset + 16 * i);
    }
  };

  const atomic: Record<string, unknown> = {
    load: (address: I32, offset = 0) => {
      f.push(address, "i32");
      access(0xfe, 0x10, 2, offset);
      return f.pop("i32");
    },
    store: (address: I32, offset: number, value: I32) => {
      f.push(address, "i32");
      f.push(value, "i32");
      access(0xfe, 0x17, 2, offset);
    },
    compareExchange: (address: I32, offset: number, expected: I32, value: I32) => {
      f.push(address, "i32");
      f.push(expected, "i32");
      f.push(value, "i32");
      access(0xfe, 0x48, 2, offset);
      return f.pop("i32");
    },
    wait: (address: I32, offset: number, expected: I32, timeoutNs: I64) => {
      f.push(address, "i32");
      f.push(expected, "i32");
      f.push(timeoutNs, "i64");
      access(0xfe, 0x01, 2, offset);
      return f.pop("i32");
    },
    notify: (address: I32, offset: number, count: I32) => {
      f.push(address, "i32");
      f.push(count, "i32");
      access(0xfe, 0x00, 2, offset);
      return f.pop("i32");
    },
    fence: () => f.code.byte(0xfe, 0x03, 0x00),
  };
  for (const [name, opcode] of Object.entries(ATOMIC_RMW))
    atomic[name] = (address: I32, offset: number, value: I32) => {
      f.push(address, "i32");
      f.push(value, "i32");
      access(0xfe, opcode, 2, offset);
      return f.pop("i32");
    };

  return {
    i32,
    i64: scalar<"i64", I64>("i64", 0x29, 0x37, 3),
    f32: scalar<"f32", F32>("f32", 0x2a, 0x38, 2),
    f64: scalar<"f64", F64>("f64", 0x2b, 0x39, 3),
    vec,
    atomic,
  } as unknown as MemoryOps;
}
