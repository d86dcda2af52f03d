// The blocked product: a unit is a block of rows times a block of columns of one batch entry and one part of the inner axis.

import type { ModuleBuilder, Value } from "@everlong/wasm";
import { defineFinish, defineGather, isPlain, type Epilogue } from "./wasm-epilogue.ts";
import { defineCorner, definePack, defineTile, tileOf } from "./wasm-tile.ts";

/** Words of the argument block of `product`, in order. Strides are in bytes. */
export const PRODUCT_ARGS = [
  "a",
  "b",
  "c",
  "rows",
  "columns",
  "inner",
  "aRow",
  "aInner",
  "bInner",
  "bColumn",
  "rowsPerUnit",
  "columnsPerUnit",
  "rowBlocks",
  "columnBlocks",
  // parts of the inner axis, their length, and the distance of their results
  "splits",
  "splitLength",
  "splitStride",
  // steps of the inner axis between two visits of C
  "depth",
  // 1: b points at panels packed beforehand
  "packed",
  "batch1",
  "batch2",
  "aBatch0",
  "aBatch1",
  "aBatch2",
  "bBatch0",
  "bBatch1",
  "bBatch2",
  "cBatch",
  "bias",
  "keep",
] as const;
export type ProductArg = (typeof PRODUCT_ARGS)[number];

type I32Value = Value<"i32">;

/** Defines `product` and `packRight` (see {@link PRODUCT_ARGS}) for an epilogue. */
export function buildProduct(module: ModuleBuilder, epilogue: Epilogue): void {
  const tile = tileOf(module.target);
  const packLeft = definePack(module, tile.rows);
  const packRight = definePack(module, tile.columns);
  const multiply = defineTile(module, tile);
  const corner = defineCorner(module, tile);
  const finish = isPlain(epilogue) ? undefined : defineFinish(module, epilogue);

  module.define(
    "product",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = (name: ProductArg): I32Value => f.mem.i32.load(args, 4 * PRODUCT_ARGS.indexOf(name));
      const [rows, columns, inner] = [arg("rows"), arg("columns"), arg("inner")];
      const [aRow, aInner, bInner, bColumn] = [arg("aRow"), arg("aInner"), arg("bInner"), arg("bColumn")];
      const pitch = f.i32.shl(columns, 2);
      const packed = arg("packed");
      const depth = arg("depth");
      f.loop(begin, end, 1, (unit) => {
        // unit = ((batch * splits + split) * rowBlocks + row block) * columnBlocks + column block
        const rest = f.variable("i32", unit);
        const digit = (base: I32Value): I32Value => {
          const quotient = f.i32.divU(rest, base);
          const remainder = f.i32.sub(rest, f.i32.mul(quotient, base));
          f.set(rest, quotient);
          return remainder;
        };
        const [columnBlock, rowBlock, split] = [
          digit(arg("columnBlocks")),
          digit(arg("rowBlocks")),
          digit(arg("splits")),
        ];
        const batch = f.i32.add(rest, 0);
        const [i2, i1] = [digit(arg("batch2")), digit(arg("batch1"))];
        const i0 = f.i32.add(rest, 0);
        const batchOffset = (side: "a" | "b"): I32Value => {
          const terms = ([0, 1, 2] as const).map((d) => f.i32.mul([i0, i1, i2][d]!, arg(`${side}Batch${d}`)));
          return f.i32.add(f.i32.add(terms[0]!, terms[1]!), terms[2]!);
        };
        const row0 = f.i32.mul(rowBlock, arg("rowsPerUnit"));
        const column0 = f.i32.mul(columnBlock, arg("columnsPerUnit"));
        const smaller = (x: I32Value, y: I32Value | number): I32Value => f.select(f.i32.ltU(x, y), x, y);
        const height = smaller(f.i32.sub(rows, row0), arg("rowsPerUnit"));
        const width = smaller(f.i32.sub(columns, column0), arg("columnsPerUnit"));
        const k = f.variable("i32", f.i32.mul(split, arg("splitLength")));
        const kEnd = smaller(f.i32.add(k, arg("splitLength")), inner);
        const a = f.i32.add(f.i32.add(arg("a"), batchOffset("a")), f.i32.mul(row0, aRow));
        const b = f.i32.add(
          f.i32.add(arg("b"), batchOffset("b")),
          f.select(packed, 0, f.i32.mul(column0, bColumn)),
        );
        const cell = f.i32.shl(f.i32.add(f.i32.mul(row0, columns), column0), 2);
        const cOffset = f.i32.add(f.i32.mul(batch, arg("cBatch")), cell);
        const c = f.i32.add(f.i32.add(arg("c"), cOffset), f.i32.mul(split, arg("splitStride")));

        const spare = f.i32.add(scratch, 0);
        const left = f.i32.add(scratch, 4 * tile.rows * tile.columns);
        const leftBytes = f.i32.shl(f.i32.mul(f.i32.add(height, tile.rows), depth), 2);
        const right = f.i32.and(f.i32.add(f.i32.add(left, leftBytes), 63), -64);
        const accumulate = f.variable("i32", 0);
        f.doWhile(() => {
          const steps = smaller(f.i32.sub(kEnd, k), depth);
          const stepBytes = f.i32.shl(steps, 2);
          const aFrom = f.variable("i32", f.i32.add(a, f.i32.mul(k, aInner)));
          const to = f.variable("i32", left);
          f.loop(0, height, tile.rows, (i) => {
            f.call(packLeft, aFrom, aRow, aInner, smaller(f.i32.sub(height, i), tile.rows), steps, to);
            f.advance(aFrom, f.i32.mul(aRow, tile.rows));
            f.advance(to, f.i32.mul(stepBytes, tile.rows));
          });
          f.if(f.i32.eqz(packed), () => {
            const bFrom = f.variable("i32", f.i32.add(b, f.i32.mul(k, bInner)));
            f.set(to, right);
            f.loop(0, width, tile.columns, (j) => {
              f.call(
                packRight,
                bFrom,
                bColumn,
                bInner,
                smaller(f.i32.sub(width, j), tile.columns),
                steps,
                to,
              );
              f.advance(bFrom, f.i32.mul(bColumn, tile.columns));
              f.advance(to, f.i32.mul(stepBytes, tile.columns));
            });
          });
          // panels packed beforehand run over the whole inner axis, those packed here over `steps`
          const panel = f.variable("i32", right);
          const panelBytes = f.variable("i32", f.i32.mul(stepBytes, tile.columns));
          f.if(packed, () => {
            f.set(panelBytes, f.i32.mul(inner, 4 * tile.columns));
            const first = f.i32.mul(f.i32.divU(column0, tile.columns), panelBytes);
            f.set(panel, f.i32.add(f.i32.add(b, first), f.i32.mul(k, 4 * tile.columns)));
          });
          f.loop(0, width, tile.columns, (j) => {
            const leftPanel = f.variable("i32", left);
            const cTile = f.variable("i32", f.i32.muladd(j, 4, c));
            const columnsHere = smaller(f.i32.sub(width, j), tile.columns);
            f.loop(0, height, tile.rows, (i) => {
              const rowsHere = smaller(f.i32.sub(height, i), tile.rows);
              const whole = f.i32.and(f.i32.eq(rowsHere, tile.rows), f.i32.eq(columnsHere, tile.columns));
              f.if(
                whole,
                () => f.call(multiply, leftPanel, panel, cTile, pitch, steps, accumulate),
                () => {
                  f.call(multiply, leftPanel, panel, spare, 4 * tile.columns, steps, 0);
                  f.call(corner, spare, cTile, pitch, rowsHere, columnsHere, accumulate);
                },
              );
              f.advance(leftPanel, f.i32.mul(stepBytes, tile.rows));
              f.advance(cTile, f.i32.mul(pitch, tile.rows));
            });
            f.advance(panel, panelBytes);
          });
          f.set(accumulate, 1);
          f.advance(k, steps);
          return f.i32.ltU(k, kEnd);
        });
        if (finish) {
          const bias = f.i32.muladd(column0, 4, arg("bias"));
          f.call(finish, c, f.i32.add(arg("keep"), cOffset), pitch, bias, height, width);
        }
      });
    },
  );

  // unit = batch * panels + panel: one panel over the whole inner axis; `b` is the source, `c` the destination
  module.define(
    "packRight",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end) => {
      const arg = (name: ProductArg): I32Value => f.mem.i32.load(args, 4 * PRODUCT_ARGS.indexOf(name));
      const panels = arg("columnBlocks");
      const bytes = f.i32.mul(arg("inner"), 4 * tile.columns);
      f.loop(begin, end, 1, (unit) => {
        const batch = f.i32.divU(unit, panels);
        const column = f.i32.mul(f.i32.sub(unit, f.i32.mul(batch, panels)), tile.columns);
        const left = f.i32.sub(arg("columns"), column);
        const lanes = f.select(f.i32.ltU(left, tile.columns), left, tile.columns);
        const i2 = f.i32.remU(batch, arg("batch2"));
        const outer = f.i32.divU(batch, arg("batch2"));
        const i1 = f.i32.remU(outer, arg("batch1"));
        const i0 = f.i32.divU(outer, arg("batch1"));
        const source = f.variable("i32", f.i32.add(arg("b"), f.i32.mul(column, arg("bColumn"))));
        f.advance(source, f.i32.mul(i0, arg("bBatch0")));
        f.advance(source, f.i32.mul(i1, arg("bBatch1")));
        f.advance(source, f.i32.mul(i2, arg("bBatch2")));
        const to = f.i32.add(arg("c"), f.i32.mul(unit, bytes));
        f.call(packRight, source, arg("bColumn"), arg("bInner"), lanes, arg("inner"), to);
      });
    },
  );
}

/** Words of the argument block of `gatherSplits`. */
export const GATHER_ARGS = [
  "parts",
  "partStride",
  "splits",
  "c",
  "rows",
  "columns",
  "rowsPerUnit",
  "bias",
  "keep",
] as const;
export type GatherArg = (typeof GATHER_ARGS)[number];

/** Defines `gatherSplits`: sums the parts of a split inner axis for a block of rows, then the epilogue. */
export function buildGather(module: ModuleBuilder, epilogue: Epilogue): void {
  const gather = defineGather(module);
  const finish = isPlain(epilogue) ? undefined : defineFinish(module, epilogue);
  module.define(
    "gatherSplits",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end) => {
      const arg = (name: GatherArg): I32Value => f.mem.i32.load(args, 4 * GATHER_ARGS.indexOf(name));
      const pitch = f.i32.shl(arg("columns"), 2);
      f.loop(begin, end, 1, (unit) => {
        const row = f.i32.mul(unit, arg("rowsPerUnit"));
        const left = f.i32.sub(arg("rows"), row);
        const height = f.select(f.i32.ltU(left, arg("rowsPerUnit")), left, arg("rowsPerUnit"));
        const offset = f.i32.mul(row, pitch);
        const c = f.i32.add(arg("c"), offset);
        const from = f.i32.add(arg("parts"), offset);
        f.call(gather, from, arg("partStride"), arg("splits"), c, f.i32.mul(height, arg("columns")));
        if (finish)
          f.call(finish, c, f.i32.add(arg("keep"), offset), pitch, arg("bias"), height, arg("columns"));
      });
    },
  );
}
