// Transposes a tile into scratch memory, so that kernels may read an operand along an axis where its elements are far apart.

import type { FunctionBuilder, FunctionRef, I32, ModuleBuilder, Value, Variable } from "@everlong/wasm";

/**
 * The module's function `(source, columnStride, target, targetPitch, rows, columns)`, all in bytes and counts: element (r, c)
 * lies at `source + r * size + c * columnStride` and goes to `target + r * targetPitch + c * size`.
 */
export function transposer(module: ModuleBuilder, size: 1 | 2 | 4): FunctionRef {
  const name = `transposeTile${size}`;
  return module.once(name, () =>
    module.define(
      name,
      { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
      (f, source, columnStride, target, pitch, rows, columns) => {
        if (size !== 4) {
          copyPart(f, size, source, columnStride, target, pitch, rows, columns);
          return;
        }
        const rows4 = f.i32.and(rows, ~3);
        const columns4 = f.i32.and(columns, ~3);
        const step = f.i32.shl(columnStride, 2);
        const source0 = f.variable("i32", source);
        const target0 = f.variable("i32", target);
        f.if(rows4, () =>
          f.loop(0, columns4, 4, () => {
            const from = f.variable("i32", source0);
            const to = f.variable("i32", target0);
            f.loop(0, rows4, 4, () => {
              transpose4(f, from, columnStride, to, pitch);
              f.advance(from, 16);
              f.advance(to, f.i32.shl(pitch, 2));
            });
            f.advance(source0, step);
            f.advance(target0, 16);
          }),
        );
        // The columns beyond the last four, then the rows beyond the last four.
        const right = f.i32.sub(columns, columns4);
        f.if(right, () =>
          copyPart(
            f,
            size,
            f.i32.add(source, f.i32.mul(columns4, columnStride)),
            columnStride,
            f.i32.add(target, f.i32.shl(columns4, 2)),
            pitch,
            rows,
            right,
          ),
        );
        const below = f.i32.sub(rows, rows4);
        f.if(f.i32.and(f.i32.ne(below, 0), f.i32.ne(columns4, 0)), () =>
          copyPart(
            f,
            size,
            f.i32.add(source, f.i32.shl(rows4, 2)),
            columnStride,
            f.i32.add(target, f.i32.mul(rows4, pitch)),
            pitch,
            below,
            columns4,
          ),
        );
      },
    ),
  );
}

function transpose4(f: FunctionBuilder, from: I32, columnStride: I32, to: Variable<"i32">, pitch: I32): void {
  const at = [from, f.i32.add(from, columnStride)];
  at.push(f.i32.add(at[1]!, columnStride));
  at.push(f.i32.add(at[2]!, columnStride));
  const [a, b, c, d] = at.map((p) => f.mem.vec.load(p, 0, 1)) as [never, never, never, never];
  const low = f.v128.shuffle(a, b, [0, 4, 1, 5]);
  const high = f.v128.shuffle(a, b, [2, 6, 3, 7]);
  const low2 = f.v128.shuffle(c, d, [0, 4, 1, 5]);
  const high2 = f.v128.shuffle(c, d, [2, 6, 3, 7]);
  const out: Value<"i32">[] = [to];
  for (let i = 1; i < 4; i++) out.push(f.i32.add(out[i - 1]!, pitch));
  f.mem.vec.store(out[0]!, 0, f.v128.shuffle(low, low2, [0, 1, 4, 5]));
  f.mem.vec.store(out[1]!, 0, f.v128.shuffle(low, low2, [2, 3, 6, 7]));
  f.mem.vec.store(out[2]!, 0, f.v128.shuffle(high, high2, [0, 1, 4, 5]));
  f.mem.vec.store(out[3]!, 0, f.v128.shuffle(high, high2, [2, 3, 6, 7]));
}

/** Element by element; runs along the source, whose lines are then used whole. */
function copyPart(
  f: FunctionBuilder,
  size: 1 | 2 | 4,
  source: I32,
  columnStride: I32,
  target: I32,
  pitch: I32,
  rows: I32,
  columns: I32,
): void {
  const source0 = f.variable("i32", source as Value<"i32">);
  const target0 = f.variable("i32", target as Value<"i32">);
  f.loop(0, columns, 1, () => {
    const from = f.variable("i32", source0);
    const to = f.variable("i32", target0);
    f.loop(0, rows, 1, () => {
      if (size === 4) f.mem.i32.store(to, 0, f.mem.i32.load(from));
      else if (size === 2) f.mem.i32.store16(to, 0, f.mem.i32.load16U(from));
      else f.mem.i32.store8(to, 0, f.mem.i32.load8U(from));
      f.advance(from, size);
      f.advance(to, pitch);
    });
    f.advance(source0, columnStride);
    f.advance(target0, size);
  });
}
