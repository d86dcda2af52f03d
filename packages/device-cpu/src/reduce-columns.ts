// Emits the kernel of a reduction whose lanes run along a kept axis: rows are added onto a strip of results in scratch memory, and
// every few rows that strip is added onto the total (a fixed tree of two levels).

import type { FunctionBuilder, I32, ModuleBuilder, Value, Variable, Vec } from "@everlong/wasm";
import type { FusedEmitter } from "./fused-code.ts";
import { bytesOf, storeLanes, storeTail, storeVector } from "./lane-formats.ts";
import { vectorSteps } from "./loop-codegen.ts";
import { openReduction, REDUCE_HEADER, type ReduceSpec } from "./reduce-frame.ts";
import { combine, LANES, neutral, PARTS, settle } from "./reduction.ts";
import { forRowRuns, minU } from "./row-cursor.ts";

/** Columns of a strip, and rows between folds. */
export const STRIP = 4096;
const FOLD_ROWS = 128;
const STRIP_BYTES = 4 * STRIP;
/** Two strips: the current one and the total. */
export const COLUMN_SCRATCH: number = 2 * STRIP_BYTES;

/**
 * Defines the entry `reduceColumns`; a unit is one segment of rows of one strip. The header's `columns` are those of a strip,
 * `columnSegments` counts strips, and `segments` those of rows. `dense` says whether results lie next to each other.
 */
export function buildReduceColumns(module: ModuleBuilder, spec: ReduceSpec, dense: boolean): void {
  const { fn, dtype, stored } = spec;
  const signature = { params: ["i32", "i32", "i32", "i32"], exported: true } as const;
  module.define("reduceColumns", signature, (f, args, begin, end, scratch) => {
    const { word, count, base, own, strides, kept, reduced, fused } = openReduction(f, module, args, spec, 1);
    const [inner, segments, strips] = [
      word(REDUCE_HEADER.inner),
      word(REDUCE_HEADER.segments),
      word(REDUCE_HEADER.columnSegments),
    ];
    const outStride = own(0);
    const total = f.i32.add(scratch, STRIP_BYTES);
    const unit = f.variable("i32", begin);
    f.doWhile(() => {
      const place = f.i32.divU(unit, segments);
      const segment = f.i32.sub(unit, f.i32.mul(place, segments));
      const outer = f.i32.divU(place, strips);
      const wanted = word(REDUCE_HEADER.columns);
      const column = f.i32.mul(f.i32.sub(place, f.i32.mul(outer, strips)), wanted);
      const columns = minU(f, wanted, f.i32.sub(inner, column));
      const segmentRows = word(REDUCE_HEADER.segmentRows);
      const first = f.i32.mul(segment, segmentRows);
      const last = minU(f, word(REDUCE_HEADER.rows), f.i32.add(first, segmentRows));
      const start = (k: number): I32 => {
        const at = f.i32.add(base(k), f.i32.mul(column, k < count ? strides[k]! : outStride));
        return k < count ? at : f.i32.add(at, f.i32.mul(segment, word(REDUCE_HEADER.partialStride)));
      };
      forRowRuns(f, kept, outer, f.i32.add(outer, 1), count + 1, start, ({ pointers }) => {
        const width = f.i32.shl(f.i32.and(f.i32.add(columns, LANES - 1), -LANES), 2);
        const one = neutral(f, fn, dtype);
        eachVector(f, width, [scratch, total], (a, b) => {
          f.mem.vec.store(a, 0, one);
          f.mem.vec.store(b, 0, one);
        });
        const pending = f.variable("i32", 0);
        const fold = (): void => {
          eachVector(f, width, [scratch, total], (a, b) => {
            const sum = combine(f, fn, dtype, f.mem.vec.load(b, 0, PARTS), f.mem.vec.load(a, 0, PARTS));
            f.mem.vec.store(b, 0, sum);
            f.mem.vec.store(a, 0, one);
          });
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
              emitRow(f, spec, fused, line.pointers, strides, columns, scratch);
              f.advance(pending, 1);
              f.if(f.i32.geU(pending, FOLD_ROWS), fold);
              line.next();
              f.advance(lines, -1);
              return lines;
            });
          },
        );
        f.if(pending, fold);
        const out = f.variable("i32", pointers[count]!);
        const left = f.variable("i32", columns);
        eachVector(f, width, [total], (from) => {
          const value = settle(f, dtype, f.mem.vec.load(from, 0, PARTS));
          f.if(
            f.i32.geU(left, LANES),
            () => {
              if (dense) storeVector(f, stored, out, value);
              else storeLanes(f, stored, out, outStride, value);
            },
            () => storeTail(f, module, stored, out, dense ? bytesOf(stored) : outStride, left, value),
          );
          f.advance(out, dense ? bytesOf(stored) * LANES : f.i32.mul(outStride, LANES));
          f.advance(left, -LANES);
        });
      });
      f.advance(unit, 1);
      return f.i32.ltU(unit, end);
    });
  });
}

/** Runs `body` for each vector of `bytes` bytes (not 0), with pointers that start at `starts`. */
function eachVector(
  f: FunctionBuilder,
  bytes: I32,
  starts: readonly Value<"i32">[],
  body: (...at: Variable<"i32">[]) => void,
): void {
  const left = f.variable("i32", bytes as Value<"i32">);
  const at = starts.map((s) => f.variable("i32", s));
  f.doWhile(() => {
    body(...at);
    for (const p of at) f.advance(p, 4 * LANES);
    f.advance(left, -4 * LANES);
    return left;
  });
}

/** Adds one row onto the strip. Lanes beyond the last column hold what nobody reads. */
function emitRow(
  f: FunctionBuilder,
  spec: ReduceSpec,
  fused: FusedEmitter,
  row: readonly Variable<"i32">[],
  strides: readonly Value<"i32">[],
  columns: Value<"i32">,
  strip: Value<"i32">,
): void {
  const { fn, dtype } = spec;
  const at = row.map((p) => f.variable("i32", p));
  fused.row(at);
  const target = f.variable("i32", strip);
  const add = (value: Vec): void => {
    f.mem.vec.store(target, 0, combine(f, fn, dtype, f.mem.vec.load(target, 0, PARTS), value));
  };
  const tail = f.i32.and(columns, LANES - 1);
  const left = f.variable("i32", f.i32.sub(columns, tail));
  const steps = vectorSteps(f, spec.fused, strides, LANES);
  f.if(left, () => {
    f.doWhile(() => {
      add(fused.last(at));
      at.forEach((p, k) => f.advance(p, steps[k]!));
      f.advance(target, 4 * LANES);
      f.advance(left, -LANES);
      return left;
    });
  });
  f.if(tail, () => add(fused.last(at, tail)));
}
