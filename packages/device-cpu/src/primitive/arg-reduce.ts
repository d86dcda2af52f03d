// Index of the first extreme element along an axis. NaN counts as the extreme; of equals the first wins.

import type { DType, PrimitiveParams } from "@everlong/core";
import type { WasmSource } from "@everlong/kernels/wasm";
import type { FunctionBuilder, I32, ModuleBuilder, Value, Vec, VecVariable } from "@everlong/wasm";
import { emitCast } from "../instruction-codegen.ts";
import { bytesOf, lanesKind, loadTail, loadVector, storeTail } from "../lane-formats.ts";
import { around } from "./axis-groups.ts";
import { chunkOf, defineUnits } from "./units.ts";

const COLUMNS = 32;
const X = 0;
const OUT = 1;
const N = 2;
const INNER = 3;
const CHUNKS = 4;

type Extreme = "max" | "min";

/** Bools are compared as integers. */
const comparable = (f: FunctionBuilder, dtype: DType, x: Vec): Vec =>
  dtype === "bool" ? emitCast(f, "bool", "i32", x) : x;

/** Lanes where `x` replaces `best`. */
function better(f: FunctionBuilder, fn: Extreme, dtype: DType, x: Vec, best: Vec): Vec {
  if (lanesKind(dtype) !== "float") return f.i32x4[fn === "max" ? "gtS" : "ltS"](x, best);
  const notBehind = f.v128.not(f.f32x4[fn === "max" ? "le" : "ge"](x, best));
  return f.v128.and(notBehind, f.f32x4.eq(best, best));
}

function buildColumns(module: ModuleBuilder, fn: Extreme, dtype: DType): void {
  const size = bytesOf(dtype);
  defineUnits(module, "argReduce", (f, unit, word) => {
    const [n, inner] = [word(N), word(INNER)];
    const { place, start, count } = chunkOf(f, unit, inner, f.i32.constant(COLUMNS), word(CHUNKS));
    const rowBytes = f.i32.mul(inner, size);
    const x0 = f.variable(
      "i32",
      f.i32.add(word(X), f.i32.add(f.i32.mul(place, f.i32.mul(n, rowBytes)), f.i32.mul(start, size))),
    );
    const out0 = f.variable(
      "i32",
      f.i32.add(word(OUT), f.i32.shl(f.i32.add(f.i32.mul(place, inner), start), 2)),
    );
    const left = f.variable("i32", count);
    const strip = (tail: I32 | undefined): void => {
      const from = f.variable("i32", x0);
      const load = (): Vec =>
        comparable(
          f,
          dtype,
          tail === undefined
            ? loadVector(f, dtype, from, f.width)
            : loadTail(f, module, dtype, from, size, tail, f.width),
        );
      const best = f.vecVariable(load());
      const index = f.vecVariable(f.i32x4.constant(0));
      f.loop(1, n, 1, (i) => {
        f.advance(from, rowBytes);
        const x = load();
        const mask = better(f, fn, dtype, x, best);
        f.setVec(best, f.v128.select(mask, x, best));
        f.setVec(index, f.v128.select(mask, f.i32x4.splat(i), index));
      });
      if (tail === undefined) f.mem.vec.store(out0, 0, index);
      else storeTail(f, module, "i32", out0, 4, tail, index);
    };
    f.doWhile(() => {
      f.if(
        f.i32.geU(left, f.lanes),
        () => {
          strip(undefined);
          f.advance(x0, size * f.lanes);
          f.advance(out0, 4 * f.lanes);
          f.advance(left, -f.lanes);
        },
        () => {
          strip(left);
          f.set(left, 0);
        },
      );
      return left;
    });
  });
}

function buildRows(module: ModuleBuilder, fn: Extreme, dtype: DType): void {
  const size = bytesOf(dtype);
  defineUnits(module, "argReduce", (f, unit, word) => {
    const n = word(N);
    const from = f.variable("i32", f.i32.add(word(X), f.i32.mul(f.i32.mul(unit, n), size)));
    const left = f.variable("i32", f.i32.and(n, ~3));
    const tail = f.i32.sub(n, left);
    // Every lane starts from the first element, so that short rows need no neutral one.
    const first = comparable(f, dtype, loadTail(f, module, dtype, from, 0, 4, 1));
    const best = f.vecVariable(first, 1);
    const index = f.vecVariable(f.i32x4.constant(0, 1), 1);
    let counted = f.i32x4.constant(0, 1);
    for (let lane = 1; lane < 4; lane++) counted = f.i32x4.replaceLane(counted, lane, lane);
    const position = f.vecVariable(counted, 1);
    const take = (x: Vec, allowed?: Vec): void => {
      const wins = better(f, fn, dtype, x, best);
      const mask = allowed ? f.v128.and(wins, allowed) : wins;
      f.setVec(best, f.v128.select(mask, x, best));
      f.setVec(index, f.v128.select(mask, position, index));
    };
    f.if(left, () =>
      f.doWhile(() => {
        take(comparable(f, dtype, loadVector(f, dtype, from, 1)));
        f.setVec(position, f.i32x4.add(position, 4));
        f.advance(from, 4 * size);
        f.advance(left, -4);
        return left;
      }),
    );
    f.if(tail, () => {
      const allowed = f.i32x4.ltS(counted, f.i32x4.splat(tail, 1));
      take(comparable(f, dtype, loadTail(f, module, dtype, from, size, tail, 1)), allowed);
    });
    f.mem.i32.store(f.i32.add(word(OUT), f.i32.shl(unit, 2)), 0, winner(f, fn, dtype, best, index));
  });
}

/** The index of the best lane; of equal ones the smallest index. */
function winner(
  f: FunctionBuilder,
  fn: Extreme,
  dtype: DType,
  best: VecVariable,
  index: VecVariable,
): Value<"i32"> {
  for (const lanes of [
    [2, 3, 0, 1],
    [1, 0, 3, 2],
  ] as const) {
    const otherBest = f.v128.shuffle(best, best, lanes);
    const otherIndex = f.v128.shuffle(index, index, lanes);
    const float = lanesKind(dtype) === "float";
    const same = float
      ? f.v128.or(
          f.f32x4.eq(otherBest, best),
          f.v128.and(f.f32x4.ne(otherBest, otherBest), f.f32x4.ne(best, best)),
        )
      : f.i32x4.eq(otherBest, best);
    const earlier = f.v128.and(same, f.i32x4.ltS(otherIndex, index));
    const mask = f.v128.or(better(f, fn, dtype, otherBest, best), earlier);
    f.setVec(best, f.v128.select(mask, otherBest, best));
    f.setVec(index, f.v128.select(mask, otherIndex, index));
  }
  return f.i32x4.extractLane(index, 0);
}

/** `x -> i32 indices` without the axis. */
export const argReduce: WasmSource<PrimitiveParams["argReduce"]> = {
  lower: ({ inputs, params: { fn, axis } }) => {
    const { shape, dtype } = inputs[0]!;
    const { outer, n, inner } = around(shape, axis);
    if (outer * n * inner === 0) return { steps: [] };
    const columns = inner > 1;
    const chunks = columns ? Math.ceil(inner / COLUMNS) : 1;
    return {
      steps: [
        {
          kernel: {
            key: `argReduce ${columns} ${fn} ${dtype}`,
            build: (module) => (columns ? buildColumns : buildRows)(module, fn, dtype),
          },
          entry: "argReduce",
          args: [{ input: 0 }, { output: 0 }, n, inner, chunks],
          units: outer * chunks,
          grain: Math.max(1, Math.floor(16_384 / (n * Math.min(inner, COLUMNS)))),
          scratchBytes: 0,
        },
      ],
    };
  },
};
