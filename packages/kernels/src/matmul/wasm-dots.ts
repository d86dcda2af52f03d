// The product for few rows of A with both inner axes contiguous, as in a linear layer applied to one token: packing would cost more than
// the product itself, so each column of B is one dot product along its own memory.

import type { FunctionBuilder, ModuleBuilder, Value, Variable, Vec } from "@everlong/wasm";
import { defineFinish, isPlain, type Epilogue } from "./wasm-epilogue.ts";

/** Most rows of A that are worked on this way. */
export const DOT_ROWS = 4;
/** Columns whose sums run side by side. */
const COLUMNS = 4;

/** Words of the argument block of `dots`, in order; strides in bytes. */
export const DOT_ARGS = [
  "a",
  "b",
  "c",
  "rows",
  "columns",
  "inner",
  "aRow",
  "bColumn",
  "columnsPerUnit",
  "columnBlocks",
  "batch1",
  "batch2",
  "aBatch0",
  "aBatch1",
  "aBatch2",
  "bBatch0",
  "bBatch1",
  "bBatch2",
  "bias",
  "keep",
] as const;
export type DotArg = (typeof DOT_ARGS)[number];

type I32Value = Value<"i32">;

/** Sums of the lanes of four vectors, as the lanes of one v128. The parts come through memory, so that no half is used alone. */
function laneSums(f: FunctionBuilder, sums: readonly Vec[], spare: I32Value): Vec {
  const bytes = 4 * f.lanes;
  sums.forEach((v, i) => f.mem.vec.store(spare, i * bytes, v));
  const folded = sums.map((_, i) => {
    const parts = Array.from({ length: f.width }, (_, p) => f.mem.vec.load(spare, i * bytes + 16 * p, 1));
    return parts.reduce((x, y) => f.f32x4.add(x, y));
  });
  const [a, b, c, d] = folded as [Vec, Vec, Vec, Vec];
  const { shuffle } = f.v128;
  const ab = f.f32x4.add(shuffle(a, b, [0, 4, 1, 5]), shuffle(a, b, [2, 6, 3, 7]));
  const cd = f.f32x4.add(shuffle(c, d, [0, 4, 1, 5]), shuffle(c, d, [2, 6, 3, 7]));
  return f.f32x4.add(shuffle(ab, cd, [0, 1, 4, 5]), shuffle(ab, cd, [2, 3, 6, 7]));
}

/** Defines `dots` for an epilogue: a unit is a block of columns of one batch entry. */
export function buildDots(module: ModuleBuilder, epilogue: Epilogue): void {
  const finish = isPlain(epilogue) ? undefined : defineFinish(module, epilogue);

  const vector = 16 * module.target.width;
  // behind the vectors of `laneSums`: stores to one address in a block keep the revectorizer from pairing
  const totals = COLUMNS * vector;
  // four dot products: (a, b, bColumn, inner, last, spare) leaves them at `spare + totals`; column i is min(i, last)
  const four = module.define(
    "fourDots",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, a, b, bColumn, inner, last, spare) => {
      const bytes = 4 * f.lanes;
      const columns = Array.from({ length: COLUMNS }, (_, i) => {
        const column = i === 0 ? f.i32.constant(0) : f.select(f.i32.ltU(i, last), i, last);
        return f.variable("i32", f.i32.add(b, f.i32.mul(column, bColumn)));
      });
      const sums = columns.map(() => f.vecVariable(0));
      const bulk = f.i32.and(inner, -f.lanes);
      const end = f.i32.muladd(bulk, 4, a);
      const moves = [a, ...columns].map((p): readonly [Variable<"i32">, number] => [p, bytes]);
      f.if(bulk, () => {
        f.sweep(a, end, moves, () => {
          const x = f.mem.vec.load(a);
          columns.forEach((p, i) => f.setVec(sums[i]!, f.f32x4.madd(x, f.mem.vec.load(p), sums[i]!)));
        });
      });
      const total = laneSums(f, sums, spare);
      f.mem.vec.store(spare, totals, total);
      f.loop(bulk, inner, 1, () => {
        const x = f.mem.f32.load(a);
        columns.forEach((p, i) => {
          const sum = f.f32.add(f.mem.f32.load(spare, totals + 4 * i), f.f32.mul(x, f.mem.f32.load(p)));
          f.mem.f32.store(spare, totals + 4 * i, sum);
          f.advance(p, 4);
        });
        f.advance(a, 4);
      });
    },
  );

  module.define(
    "dots",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = (name: DotArg): I32Value => f.mem.i32.load(args, 4 * DOT_ARGS.indexOf(name));
      const smaller = (x: I32Value, y: I32Value | number): I32Value => f.select(f.i32.ltU(x, y), x, y);
      const pitch = f.i32.shl(arg("columns"), 2);
      f.loop(begin, end, 1, (unit) => {
        const batch = f.i32.divU(unit, arg("columnBlocks"));
        const block = f.i32.sub(unit, f.i32.mul(batch, arg("columnBlocks")));
        const i2 = f.i32.remU(batch, arg("batch2"));
        const outer = f.i32.divU(batch, arg("batch2"));
        const [i0, i1] = [f.i32.divU(outer, arg("batch1")), f.i32.remU(outer, arg("batch1"))];
        const address = (side: "a" | "b"): I32Value =>
          ([0, 1, 2] as const).reduce(
            (at, d) => f.i32.add(at, f.i32.mul([i0, i1, i2][d]!, arg(`${side}Batch${d}`))),
            arg(side),
          );
        const first = f.i32.mul(block, arg("columnsPerUnit"));
        const width = smaller(f.i32.sub(arg("columns"), first), arg("columnsPerUnit"));
        const [aAt, bAt] = [address("a"), f.i32.add(address("b"), f.i32.mul(first, arg("bColumn")))];
        const offset = f.i32.add(f.i32.mul(f.i32.mul(batch, arg("rows")), pitch), f.i32.shl(first, 2));
        const c = f.i32.add(arg("c"), offset);
        f.loop(0, width, COLUMNS, (j) => {
          const here = smaller(f.i32.sub(width, j), COLUMNS);
          const b = f.i32.add(bAt, f.i32.mul(j, arg("bColumn")));
          f.loop(0, arg("rows"), 1, (i) => {
            const a = f.i32.add(aAt, f.i32.mul(i, arg("aRow")));
            f.call(four, a, b, arg("bColumn"), arg("inner"), f.i32.sub(here, 1), scratch);
            const to = f.i32.muladd(j, 4, f.i32.add(c, f.i32.mul(i, pitch)));
            f.loop(0, f.i32.shl(here, 2), 4, (at) => {
              f.mem.f32.store(f.i32.add(to, at), 0, f.mem.f32.load(f.i32.add(scratch, at), totals));
            });
          });
        });
        if (finish) {
          const bias = f.i32.muladd(first, 4, arg("bias"));
          f.call(finish, c, f.i32.add(arg("keep"), offset), pitch, bias, arg("rows"), width);
        }
      });
    },
  );
}
