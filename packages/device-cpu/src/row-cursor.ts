// Walking the rows of an index space: all axes but the inner one count as one row number, which is decoded where a run along the
// innermost of them begins and stepped by additions within it.

import type { FunctionBuilder, I32, Value, Variable } from "@everlong/wasm";
import type { ArgWord } from "./kernel-step.ts";

/** The dims table: number of outer axes, then for each, innermost first, its size and every pointer's stride in bytes. */
export function dimsTable(sizes: readonly number[], strides: readonly (readonly number[])[]): ArgWord[] {
  const axes = sizes.map((_, i) => i).reverse();
  // One axis at least, so that kernels need no special case.
  if (axes.length === 0) return [1, 1, ...strides.map(() => 0)];
  return [axes.length, ...axes.flatMap((a) => [sizes[a]!, ...strides.map((s) => s[a]!)])];
}

export interface Rows {
  /** Pointers at the current row. */
  readonly pointers: readonly Variable<"i32">[];
  /** Rows from here to the end of the run, or to the last wanted row. */
  readonly run: Value<"i32">;
  /** Moves all pointers to the next row of the run. */
  readonly next: () => void;
}

/**
 * Runs `body` for runs of rows covering `begin <= row < end` (not empty). `start(k)` gives pointer k at row 0; `table` is the
 * address of the dims table.
 */
export function forRowRuns(
  f: FunctionBuilder,
  table: I32,
  begin: I32,
  end: I32,
  count: number,
  start: (k: number) => I32,
  body: (rows: Rows) => void,
): void {
  const entry = 4 * (1 + count);
  const row = f.variable("i32", begin as Value<"i32">);
  const pointers = Array.from({ length: count }, () => f.variable("i32", 0));
  f.doWhile(() => {
    const at = f.variable("i32", f.i32.add(table, 4));
    const last = f.i32.add(at, f.i32.mul(f.mem.i32.load(table), entry));
    const move = (index: I32): void => {
      pointers.forEach((p, k) => f.advance(p, f.i32.mul(index, f.mem.i32.load(at, 4 + 4 * k))));
    };
    pointers.forEach((p, k) => f.set(p, start(k)));
    const n = f.mem.i32.load(at);
    const rest = f.variable("i32", f.i32.divU(row, n));
    const within = f.i32.sub(row, f.i32.mul(rest, n));
    const steps = pointers.map((_, k) => f.mem.i32.load(at, 4 + 4 * k));
    pointers.forEach((p, k) => f.advance(p, f.i32.mul(within, steps[k]!)));
    f.advance(at, entry);
    f.block((decoded) => {
      f.doWhile(() => {
        f.brIf(decoded, f.i32.or(f.i32.eqz(rest), f.i32.geU(at, last)));
        const m = f.mem.i32.load(at);
        const quotient = f.i32.divU(rest, m);
        move(f.i32.sub(rest, f.i32.mul(quotient, m)));
        f.set(rest, quotient);
        f.advance(at, entry);
        return f.i32.constant(1);
      });
    });
    const run = minU(f, f.i32.sub(n, within), f.i32.sub(end, row));
    body({ pointers, run, next: () => pointers.forEach((p, k) => f.advance(p, steps[k]!)) });
    f.advance(row, run);
    return f.i32.ltU(row, end);
  });
}

export const minU = (f: FunctionBuilder, a: I32, b: I32): Value<"i32"> => {
  const [x, y] = [a, b].map((v) => (typeof v === "number" ? f.i32.constant(v) : v)) as [
    Value<"i32">,
    Value<"i32">,
  ];
  return f.select(f.i32.ltU(x, y), x, y);
};
