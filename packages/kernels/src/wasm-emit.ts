// What many WebAssembly kernels share: reading the argument block, walking rows, and reductions in a fixed order.

import type { FunctionBuilder, I32, Value, Vec } from "@everlong/wasm";
import type { ArgWord, WasmView } from "./wasm-step.ts";

export type I32Value = Value<"i32">;
export type F32Value = Value<"f32">;

/** The words of an argument block in the order of their names. */
export const argWords = <K extends string>(
  order: readonly K[],
  values: { readonly [P in K]: ArgWord },
): ArgWord[] => order.map((name) => values[name]);

/** Reads words of an argument block by name. */
export const argReader =
  <K extends string>(f: FunctionBuilder, args: I32Value, order: readonly K[]): ((name: K) => I32Value) =>
  (name) =>
    f.mem.i32.load(args, 4 * order.indexOf(name));

export const argFloat =
  <K extends string>(f: FunctionBuilder, args: I32Value, order: readonly K[]): ((name: K) => F32Value) =>
  (name) =>
    f.mem.f32.load(args, 4 * order.indexOf(name));

export const smaller = (f: FunctionBuilder, a: I32, b: I32): I32Value =>
  f.select<"i32">(f.i32.ltS(a, b), a, b, "i32");
export const larger = (f: FunctionBuilder, a: I32, b: I32): I32Value =>
  f.select<"i32">(f.i32.gtS(a, b), a, b, "i32");

/** Address of an input's first element. */
export const inputWord = (input: number, view: WasmView): ArgWord => ({ input, byteOffset: 4 * view.offset });

/** Whether rows along the last axis are dense in memory. */
export const denseRows = (view: WasmView): boolean => view.strides.at(-1) === 1 || view.shape.at(-1) === 1;

/** Byte stride of an axis; axes of size 1 do not move. */
export const byteStride = (view: WasmView, axis: number): number =>
  view.shape[axis] === 1 ? 0 : 4 * view.strides[axis]!;

/**
 * One place of a row: a full vector, or near the row's end one element in a single v128. Kernels are written once for
 * both.
 */
export interface Place {
  /** Bytes from the start of the row. */
  readonly at: I32Value;
  /** Constant bytes added to `at`. */
  readonly offset: number;
  readonly whole: boolean;
}

export const loadPlace = (f: FunctionBuilder, row: I32, p: Place): Vec => {
  const address = f.i32.add(row, p.at);
  return p.whole ? f.mem.vec.load(address, p.offset) : f.mem.vec.load32Splat(address, p.offset, 1);
};

export const storePlace = (f: FunctionBuilder, row: I32, p: Place, value: Vec): void => {
  const address = f.i32.add(row, p.at);
  if (p.whole) f.mem.vec.store(address, p.offset, value);
  else f.mem.vec.store32Lane(address, p.offset, value, 0);
};

/** A scalar in every lane, in as many parts as the place has. */
export const splatAt = (f: FunctionBuilder, value: F32Value, p: Place): Vec =>
  f.f32x4.splat(value, p.whole ? f.width : 1);

/** Visits a row of `bytes`: `unroll` vectors a round, then single vectors, then single elements. */
export function walk(
  f: FunctionBuilder,
  bytes: I32Value,
  unroll: number,
  body: (p: Place, k: number) => void,
): void {
  const vector = 4 * f.lanes;
  const rounds = unroll === 1 ? f.i32.constant(0) : f.i32.sub(bytes, f.i32.remU(bytes, unroll * vector));
  if (unroll > 1) {
    f.loop(0, rounds, unroll * vector, (at) => {
      for (let k = 0; k < unroll; k++) body({ at, offset: k * vector, whole: true }, k);
    });
  }
  const vectors = f.i32.and(bytes, -vector);
  f.loop(rounds, vectors, vector, (at) => body({ at, offset: 0, whole: true }, 0));
  f.loop(vectors, bytes, 4, (at) => body({ at, offset: 0, whole: false }, 0));
}

type Fold = "add" | "max";
const fold = (f: FunctionBuilder, how: Fold, a: Vec, b: Vec): Vec =>
  how === "add" ? f.f32x4.add(a, b) : f.f32x4.max(a, b);

/** Folds all lanes of a vector and a single v128 whose lanes are equal; `scratch + offset` holds a vector. */
function foldLanes(
  f: FunctionBuilder,
  how: Fold,
  vector: Vec,
  single: Vec,
  scratch: I32,
  offset: number,
): F32Value {
  // through memory: reading the high half of a pair directly would cost the pairing
  f.mem.vec.store(scratch, offset, vector);
  let four = f.mem.vec.load(scratch, offset, 1);
  if (f.width === 2) four = fold(f, how, four, f.mem.vec.load(scratch, offset + 16, 1));
  const two = fold(f, how, four, f.v128.shuffle(four, four, [2, 3, 0, 1]));
  const one = fold(f, how, two, f.v128.shuffle(two, two, [1, 0, 3, 2]));
  return f.f32x4.extractLane(fold(f, how, one, single), 0);
}

/**
 * Sums or maxima over a row of `bytes`, several at once. The order depends on the length and the width alone.
 * @param terms the values of one place, one per fold
 * @param scratch 32 bytes of memory for each fold
 */
export function foldRow(
  f: FunctionBuilder,
  bytes: I32Value,
  folds: readonly Fold[],
  scratch: I32,
  terms: (p: Place) => readonly Vec[],
): F32Value[] {
  const chains = folds.length > 2 ? 2 : 4;
  const start = (how: Fold): number => (how === "add" ? 0 : -Infinity);
  const vectors = folds.map((how) => Array.from({ length: chains }, () => f.vecVariable(start(how))));
  const singles = folds.map((how) => f.vecVariable(start(how), 1));
  walk(f, bytes, chains, (p, k) => {
    terms(p).forEach((value, i) => {
      const into = p.whole ? vectors[i]![k]! : singles[i]!;
      f.setVec(into, fold(f, folds[i]!, into, value));
    });
  });
  return folds.map((how, i) => {
    const chainsOf = vectors[i]!;
    let all: Vec = fold(f, how, chainsOf[0]!, chainsOf[1]!);
    if (chains === 4) all = fold(f, how, all, fold(f, how, chainsOf[2]!, chainsOf[3]!));
    // A place of its own for each: V8 (13.6) miscompiles two paired stores to one address in a block.
    return foldLanes(f, how, all, singles[i]!, scratch, 32 * i);
  });
}

/** The key of a kernel for a target: pairs or single vectors, fused multiply-add or not. */
export const targetKey = (target: { readonly width: number; readonly relaxed: boolean }): string =>
  `${target.width}${target.relaxed ? "r" : "s"}`;

/** Rows per unit so that a unit has about `work` elements. */
export const rowsPerUnit = (rows: number, width: number, work = 16384): number =>
  Math.max(1, Math.min(rows, Math.floor(work / Math.max(1, width))));
