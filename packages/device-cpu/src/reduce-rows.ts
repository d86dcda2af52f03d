// Emits the kernel of a reduction whose lanes run along a reduced axis. The tree is fixed: eight lanes times a few accumulators take
// turns over at most BLOCK elements, blocks are added up, lanes last.

import type { FunctionBuilder, I32, ModuleBuilder, Value, Variable, Vec, VecVariable } from "@everlong/wasm";
import type { FusedEmitter, FusedSpec } from "./fused-code.ts";
import { storeTail } from "./lane-formats.ts";
import { vectorSteps } from "./loop-codegen.ts";
import { openReduction, REDUCE_HEADER, type ReduceSpec } from "./reduce-frame.ts";
import { acrossLanes, combine, LANES, neutral, PARTS, ramp, settle } from "./reduction.ts";
import { forRowRuns, minU } from "./row-cursor.ts";

/** Elements that one set of accumulators takes in before it is folded. */
const BLOCK = 4096;

/** Long code keeps the pipeline busy with one accumulator; short code needs several. */
const accumulatorsOf = (spec: FusedSpec): number =>
  spec.code.every((c) => c.op !== "unary" || ["neg", "abs", "not"].includes(c.fn)) && spec.code.length <= 8
    ? 4
    : 1;

/** Defines the entry `reduceRows`; a unit is one segment of one result. */
export function buildReduceRows(module: ModuleBuilder, spec: ReduceSpec): void {
  const { fused: code, fn, dtype, stored } = spec;
  const signature = { params: ["i32", "i32", "i32", "i32"], exported: true } as const;
  module.define("reduceRows", signature, (f, args, begin, end) => {
    const { word, count, base, strides, kept, reduced, fused } = openReduction(f, module, args, spec, 0);
    const [inner, rows, segments] = [
      word(REDUCE_HEADER.inner),
      word(REDUCE_HEADER.rows),
      word(REDUCE_HEADER.segments),
    ];
    const unit = f.variable("i32", begin);
    f.doWhile(() => {
      const result = f.i32.divU(unit, segments);
      const segment = f.i32.sub(unit, f.i32.mul(result, segments));
      const whole = f.i32.eq(segments, 1);
      const results = f.select(whole, f.i32.sub(end, unit), 1);
      // The segment's rows and columns.
      const columnSegments = word(REDUCE_HEADER.columnSegments);
      const rowSegment = f.i32.divU(segment, columnSegments);
      const wanted = word(REDUCE_HEADER.columns);
      const column = f.i32.mul(f.i32.sub(segment, f.i32.mul(rowSegment, columnSegments)), wanted);
      const columns = minU(f, wanted, f.i32.sub(inner, column));
      const segmentRows = word(REDUCE_HEADER.segmentRows);
      const first = f.i32.mul(rowSegment, segmentRows);
      const last = minU(f, rows, f.i32.add(first, segmentRows));
      const start = (k: number): I32 =>
        k < count
          ? f.i32.add(base(k), f.i32.mul(column, strides[k]!))
          : f.i32.add(base(k), f.i32.mul(segment, word(REDUCE_HEADER.partialStride)));
      forRowRuns(f, kept, result, f.i32.add(result, results), count + 1, start, ({ pointers, run, next }) => {
        const left = f.variable("i32", run);
        f.doWhile(() => {
          const one = neutral(f, fn, dtype);
          const total = f.vecVariable(one, PARTS);
          const sums = Array.from({ length: accumulatorsOf(code) }, () => f.vecVariable(one, PARTS));
          const pending = f.variable("i32", 0);
          const fold = (): void => {
            f.setVec(total, combine(f, fn, dtype, total, folded(f, spec, sums)));
            for (const s of sums) f.setVec(s, one);
            f.set(pending, 0);
          };
          forRowRuns(
            f,
            reduced,
            first,
            last,
            count,
            (k) => pointers[k]!,
            (line) => {
              const lines = f.variable("i32", line.run);
              f.doWhile(() => {
                const at = line.pointers.map((p) => f.variable("i32", p));
                fused.row(at);
                const rest = f.variable("i32", columns);
                f.doWhile(() => {
                  const piece = minU(f, rest, BLOCK);
                  emitPiece(f, spec, fused, at, strides, piece, sums);
                  f.advance(pending, piece);
                  f.if(f.i32.geU(pending, BLOCK), fold);
                  f.set(rest, f.i32.sub(rest, piece));
                  return rest;
                });
                line.next();
                f.advance(lines, -1);
                return lines;
              });
            },
          );
          fold();
          const value = settle(f, dtype, acrossLanes(f, fn, dtype, total));
          storeTail(f, module, stored, pointers[count]!, 0, 1, value);
          next();
          f.advance(left, -1);
          return left;
        });
      });
      f.advance(unit, results);
      return f.i32.ltU(unit, end);
    });
  });
}

/** The accumulators combined in a fixed tree. */
function folded(f: FunctionBuilder, { fn, dtype }: ReduceSpec, sums: readonly VecVariable[]): Vec {
  if (sums.length === 1) return sums[0]!;
  const [a, b, c, d] = sums as readonly [VecVariable, VecVariable, VecVariable, VecVariable];
  return combine(f, fn, dtype, combine(f, fn, dtype, a, b), combine(f, fn, dtype, c, d));
}

/** Takes `count` elements (not 0) from the pointers into the accumulators and moves the pointers behind them. */
function emitPiece(
  f: FunctionBuilder,
  spec: ReduceSpec,
  fused: FusedEmitter,
  at: readonly Variable<"i32">[],
  strides: readonly Value<"i32">[],
  count: Value<"i32">,
  sums: readonly VecVariable[],
): void {
  const { fn, dtype } = spec;
  const steps = vectorSteps(f, spec.fused, strides, LANES);
  const take = (sum: VecVariable): void => {
    f.setVec(sum, combine(f, fn, dtype, sum, fused.last(at)));
    at.forEach((p, k) => f.advance(p, steps[k]!));
  };
  const tail = f.i32.and(count, LANES - 1);
  const left = f.variable("i32", f.i32.sub(count, tail));
  const wide = LANES * sums.length;
  if (sums.length > 1) {
    f.if(f.i32.geU(left, wide), () => {
      f.doWhile(() => {
        for (const s of sums) take(s);
        f.advance(left, -wide);
        return f.i32.geU(left, wide);
      });
    });
  }
  f.if(left, () => {
    f.doWhile(() => {
      take(sums[0]!);
      f.advance(left, -LANES);
      return left;
    });
  });
  f.if(tail, () => {
    const mask = f.i32x4.ltS(ramp(f), f.i32x4.splat(tail, PARTS));
    const value = f.v128.select(mask, fused.last(at, tail), neutral(f, fn, dtype));
    f.setVec(sums[0]!, combine(f, fn, dtype, sums[0]!, value));
    // Rows in pieces have no tail but in the last one, so the pointers may stay.
  });
}
