// The combining functions of reductions on lanes, their neutral elements, and the fixed tree over the lanes of a vector. All
// reductions use eight lanes whatever the engine's width, so that their bits do not depend on it.

import type { DType, ReduceFn } from "@everlong/core";
import type { FunctionBuilder, Vec } from "@everlong/wasm";
import { emitExtreme } from "./instruction-codegen.ts";
import { lanesKind } from "./lane-formats.ts";

/** v128 per accumulator. */
export const PARTS = 2;
export const LANES = 8;

export function combine(f: FunctionBuilder, fn: ReduceFn, dtype: DType, a: Vec, b: Vec): Vec {
  const kind = lanesKind(dtype);
  if (kind === "mask") return fn === "max" ? f.v128.or(a, b) : f.v128.and(a, b);
  if (kind === "int") {
    return f.i32x4[({ sum: "add", prod: "mul", max: "maxS", min: "minS" } as const)[fn]](a, b);
  }
  if (fn === "max" || fn === "min") return emitExtreme(f, fn, a, b);
  return f.f32x4[fn === "sum" ? "add" : "mul"](a, b);
}

/** The element that changes nothing, in every lane. */
export function neutral(f: FunctionBuilder, fn: ReduceFn, dtype: DType, parts: number = PARTS): Vec {
  const value = neutralValue(fn, dtype);
  return lanesKind(dtype) === "float" ? f.f32x4.constant(value, parts) : f.i32x4.constant(value, parts);
}

function neutralValue(fn: ReduceFn, dtype: DType): number {
  const kind = lanesKind(dtype);
  if (kind === "mask") return fn === "max" ? 0 : -1;
  if (fn === "sum") return 0;
  if (fn === "prod") return 1;
  if (kind === "float") return fn === "max" ? -Infinity : Infinity;
  return fn === "max" ? -0x80000000 : 0x7fffffff;
}

/** Combines all lanes; the result is lane 0 of one v128. */
export function acrossLanes(f: FunctionBuilder, fn: ReduceFn, dtype: DType, v: Vec): Vec {
  const four = combine(f, fn, dtype, f.part(v, 0), f.part(v, 1));
  const two = combine(f, fn, dtype, four, f.v128.shuffle(four, four, [2, 3, 0, 1]));
  return combine(f, fn, dtype, two, f.v128.shuffle(two, two, [1, 0, 3, 2]));
}

/** Brings a result into the range of its dtype. */
export const settle = (f: FunctionBuilder, dtype: DType, v: Vec): Vec =>
  dtype === "u8" ? f.v128.and(v, 255) : v;

/** Lane numbers 0 to 7. */
export function ramp(f: FunctionBuilder): Vec {
  return {
    parts: Array.from({ length: PARTS }, (_, part) => {
      let v = f.i32x4.constant(4 * part, 1);
      for (let lane = 1; lane < 4; lane++) v = f.i32x4.replaceLane(v, lane, 4 * part + lane);
      return v.parts[0]!;
    }),
  };
}
