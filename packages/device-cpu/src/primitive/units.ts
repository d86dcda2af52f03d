// How the hand-written kernels of primitives walk their units.

import type { FunctionBuilder, I32, ModuleBuilder, Value, Variable } from "@everlong/wasm";
import { minU } from "../row-cursor.ts";

/** Reads word `index` of the argument block. */
export type Words = (index: number) => Value<"i32">;

/** Defines the exported entry `name` with the signature of kernels, and runs `body` for every unit. */
export function defineUnits(
  module: ModuleBuilder,
  name: string,
  body: (
    f: FunctionBuilder,
    unit: Variable<"i32">,
    word: Words,
    scratch: Value<"i32">,
    args: Value<"i32">,
  ) => void,
): void {
  module.define(
    name,
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      f.loop(begin, end, 1, (unit) =>
        body(f, unit, (index) => f.mem.i32.load(args, 4 * index), scratch, args),
      );
    },
  );
}

/** Splits a unit number into (place, chunk) and gives the chunk's range of `size` elements, `chunk` at a time. */
export function chunkOf(
  f: FunctionBuilder,
  unit: Value<"i32">,
  size: Value<"i32">,
  chunk: Value<"i32">,
  chunks: Value<"i32">,
): { place: Value<"i32">; start: Value<"i32">; count: Value<"i32"> } {
  const place = f.i32.divU(unit, chunks);
  const start = f.i32.mul(f.i32.sub(unit, f.i32.mul(place, chunks)), chunk);
  return { place, start, count: minU(f, chunk, f.i32.sub(size, start)) };
}

/** Loads an element of 1, 2 or 4 bytes as an i32, zero-extended. */
export function loadBits(f: FunctionBuilder, size: 1 | 2 | 4, at: I32): Value<"i32"> {
  return size === 4 ? f.mem.i32.load(at) : size === 2 ? f.mem.i32.load16U(at) : f.mem.i32.load8U(at);
}

export function storeBits(f: FunctionBuilder, size: 1 | 2 | 4, at: I32, value: I32): void {
  if (size === 4) f.mem.i32.store(at, 0, value);
  else if (size === 2) f.mem.i32.store16(at, 0, value);
  else f.mem.i32.store8(at, 0, value);
}

/** Copies `bytes` bytes; source and target do not overlap. */
export function copyBytes(f: FunctionBuilder, source: I32, target: I32, bytes: Value<"i32">): void {
  const from = f.variable("i32", source as Value<"i32">);
  const to = f.variable("i32", target as Value<"i32">);
  const left = f.variable("i32", bytes);
  const step = 16 * f.width;
  f.if(f.i32.geU(left, step), () =>
    f.doWhile(() => {
      f.mem.vec.store(to, 0, f.mem.vec.load(from));
      f.advance(from, step);
      f.advance(to, step);
      f.advance(left, -step);
      return f.i32.geU(left, step);
    }),
  );
  f.if(f.i32.geU(left, 4), () =>
    f.doWhile(() => {
      f.mem.i32.store(to, 0, f.mem.i32.load(from));
      f.advance(from, 4);
      f.advance(to, 4);
      f.advance(left, -4);
      return f.i32.geU(left, 4);
    }),
  );
  f.if(left, () =>
    f.doWhile(() => {
      f.mem.i32.store8(to, 0, f.mem.i32.load8U(from));
      f.advance(from, 1);
      f.advance(to, 1);
      f.advance(left, -1);
      return left;
    }),
  );
}
