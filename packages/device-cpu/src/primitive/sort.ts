// Stable sorting of lines by radix: keys become unsigned numbers in the wanted order, then four passes of 8 bits move (key, index)
// pairs; a pass whose byte is the same everywhere is skipped. NaN comes last either way.

import type { DType, PrimitiveParams } from "@everlong/core";
import type { WasmSource } from "@everlong/kernels/wasm";
import type { FunctionBuilder, ModuleBuilder, Value } from "@everlong/wasm";
import type { ArgWord, WasmStep } from "../kernel-step.ts";
import { bytesOf } from "../lane-formats.ts";
import { around } from "./axis-groups.ts";
import { defineUnits, loadBits, storeBits } from "./units.ts";

const COUNTS_BYTES = 4 * 4 * 256;
/** Longest line whose keys and indices live in the threads' scratch; longer ones take turns in a temporary. */
const SCRATCH_LINE = 65_536;

// Argument words.
const X = 0;
const VALUES = 1;
const INDICES = 2;
const N = 3;
const INNER = 4;
const TEMP = 5;

/** The key of an element's bits: unsigned order is the wanted order. */
function keyOf(f: FunctionBuilder, dtype: DType, descending: boolean, bits: Value<"i32">): Value<"i32"> {
  if (dtype !== "f32") {
    const ascending = dtype === "i32" ? f.i32.xor(bits, -0x80000000) : bits;
    return descending ? f.i32.xor(ascending, -1) : ascending;
  }
  const magnitude = f.i32.and(bits, 0x7fffffff);
  // -0 equals 0.
  const plain = f.select(f.i32.eqz(magnitude), 0, bits);
  const flips = f.i32.or(f.i32.shrS(plain, 31), -0x80000000);
  const ascending = f.i32.xor(plain, flips);
  const ordered = descending ? f.i32.xor(ascending, -1) : ascending;
  return f.select(f.i32.gtU(magnitude, 0x7f800000), -1, ordered);
}

function build(module: ModuleBuilder, dtype: DType, descending: boolean): void {
  const size = bytesOf(dtype);
  defineUnits(module, "sort", (f, unit, word, scratch) => {
    const [n, inner] = [word(N), word(INNER)];
    const temp = word(TEMP);
    const area = f.select(f.i32.eqz(temp), f.i32.add(scratch, COUNTS_BYTES), temp);
    const bytes = f.i32.shl(n, 2);
    const keys = f.variable("i32", area);
    const order = f.variable("i32", f.i32.add(keys, bytes));
    const keys2 = f.variable("i32", f.i32.add(order, bytes));
    const order2 = f.variable("i32", f.i32.add(keys2, bytes));
    const outer = f.i32.divU(unit, inner);
    const first = f.i32.add(f.i32.mul(f.i32.mul(outer, n), inner), f.i32.sub(unit, f.i32.mul(outer, inner)));
    const line = f.i32.add(word(X), f.i32.mul(first, size));
    const stride = f.i32.mul(inner, size);

    f.loop(scratch, f.i32.add(scratch, COUNTS_BYTES), 16, (at) =>
      f.mem.vec.store(at, 0, f.i32x4.constant(0, 1)),
    );
    const from = f.variable("i32", line);
    f.loop(0, n, 1, (i) => {
      const key = keyOf(f, dtype, descending, loadBits(f, size, from));
      const place = f.i32.shl(i, 2);
      f.mem.i32.store(f.i32.add(keys, place), 0, key);
      f.mem.i32.store(f.i32.add(order, place), 0, i);
      for (let pass = 0; pass < 4; pass++) {
        const digit = f.i32.and(f.i32.shrU(key, 8 * pass), 255);
        const counter = f.i32.add(scratch, f.i32.shl(digit, 2));
        f.mem.i32.store(counter, 1024 * pass, f.i32.add(f.mem.i32.load(counter, 1024 * pass), 1));
      }
      f.advance(from, stride);
    });
    f.loop(0, 32, 8, (shift) => {
      const counts = f.i32.add(scratch, f.i32.shl(shift, 7));
      const digitOf = (key: Value<"i32">): Value<"i32"> =>
        f.i32.add(counts, f.i32.shl(f.i32.and(f.i32.shrU(key, shift), 255), 2));
      const all = f.i32.eq(f.mem.i32.load(digitOf(f.mem.i32.load(keys))), n);
      f.if(f.i32.eqz(all), () => {
        // Counts become start positions, in bytes.
        const sum = f.variable("i32", 0);
        f.loop(counts, f.i32.add(counts, 1024), 4, (at) => {
          const here = f.mem.i32.load(at);
          f.mem.i32.store(at, 0, sum);
          f.advance(sum, f.i32.shl(here, 2));
        });
        f.loop(0, bytes, 4, (at) => {
          const key = f.mem.i32.load(f.i32.add(keys, at));
          const slot = digitOf(key);
          const place = f.mem.i32.load(slot);
          f.mem.i32.store(slot, 0, f.i32.add(place, 4));
          f.mem.i32.store(f.i32.add(keys2, place), 0, key);
          f.mem.i32.store(f.i32.add(order2, place), 0, f.mem.i32.load(f.i32.add(order, at)));
        });
        const [k, o] = [f.variable("i32", keys), f.variable("i32", order)];
        f.set(keys, keys2);
        f.set(order, order2);
        f.set(keys2, k);
        f.set(order2, o);
      });
    });
    const values = f.variable("i32", f.i32.add(word(VALUES), f.i32.mul(first, size)));
    const indices = f.variable("i32", f.i32.add(word(INDICES), f.i32.shl(first, 2)));
    f.loop(0, n, 1, (i) => {
      const index = f.mem.i32.load(f.i32.add(order, f.i32.shl(i, 2)));
      storeBits(f, size, values, loadBits(f, size, f.i32.add(line, f.i32.mul(index, stride))));
      f.mem.i32.store(indices, 0, index);
      f.advance(values, stride);
      f.advance(indices, f.i32.shl(inner, 2));
    });
  });
}

/** `x -> (sorted values, i32 indices)`. */
export const sort: WasmSource<PrimitiveParams["sort"]> = {
  lower: ({ inputs, params: { axis, descending } }) => {
    const { shape, dtype } = inputs[0]!;
    if (dtype === "f16" || dtype === "bf16") return "sorts float32 only";
    const { outer, n, inner } = around(shape, axis);
    const lines = outer * inner;
    if (lines * n === 0) return { steps: [] };
    const long = n > SCRATCH_LINE;
    const temp: ArgWord = long ? { temp: 0 } : 0;
    const step: WasmStep = {
      kernel: { key: `sort ${dtype} ${descending}`, build: (module) => build(module, dtype, descending) },
      entry: "sort",
      args: [{ input: 0 }, { output: 0 }, { output: 1 }, n, inner, temp],
      units: lines,
      grain: long ? lines : Math.max(1, Math.floor(4096 / (n + 1000))),
      scratchBytes: COUNTS_BYTES + (long ? 0 : 16 * n),
    };
    return { steps: [step], temps: long ? [16 * n] : [] };
  },
};
