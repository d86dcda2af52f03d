// Running reductions along an axis. With elements after the axis, lanes run along those; along the last axis a vector is
// scanned in two shifted steps and carried on.

import type { CumulativeFn, DType, PrimitiveParams } from "@everlong/core";
import type { WasmSource } from "@everlong/kernels/wasm";
import type { I32, ModuleBuilder, Value, Vec } from "@everlong/wasm";
import { bytesOf, loadTail, loadVector, storeTail, storeVector } from "../lane-formats.ts";
import { combine, neutral, settle } from "../reduction.ts";
import { around } from "./axis-groups.ts";
import { chunkOf, defineUnits } from "./units.ts";

const COLUMNS = 32;

// Argument words.
const X = 0;
const OUT = 1;
const N = 2;
const INNER = 3;
const CHUNKS = 4;

function buildColumns(module: ModuleBuilder, fn: CumulativeFn, dtype: DType, reverse: boolean): void {
  const size = bytesOf(dtype);
  defineUnits(module, "cumulative", (f, unit, word) => {
    const [n, inner] = [word(N), word(INNER)];
    const { place, start, count } = chunkOf(f, unit, inner, f.i32.constant(COLUMNS), word(CHUNKS));
    const rowBytes = f.i32.mul(inner, size);
    const first = f.i32.mul(place, f.i32.mul(n, rowBytes));
    const begin = reverse ? f.i32.add(first, f.i32.mul(f.i32.sub(n, 1), rowBytes)) : first;
    const offset = f.i32.add(begin, f.i32.mul(start, size));
    const step = reverse ? f.i32.sub(0, rowBytes) : rowBytes;
    const left = f.variable("i32", count);
    const x0 = f.variable("i32", f.i32.add(word(X), offset));
    const out0 = f.variable("i32", f.i32.add(word(OUT), offset));
    const strip = (tail: I32 | undefined): void => {
      const from = f.variable("i32", x0);
      const to = f.variable("i32", out0);
      const total = f.vecVariable(neutral(f, fn, dtype, f.width));
      f.loop(0, n, 1, () => {
        const x =
          tail === undefined
            ? loadVector(f, dtype, from, f.width)
            : loadTail(f, module, dtype, from, size, tail, f.width);
        f.setVec(total, settle(f, dtype, combine(f, fn, dtype, total, x)));
        if (tail === undefined) storeVector(f, dtype, to, total);
        else storeTail(f, module, dtype, to, size, tail, total);
        f.advance(from, step);
        f.advance(to, step);
      });
    };
    f.doWhile(() => {
      f.if(
        f.i32.geU(left, f.lanes),
        () => {
          strip(undefined);
          f.advance(x0, size * f.lanes);
          f.advance(out0, size * f.lanes);
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

function buildRows(module: ModuleBuilder, fn: CumulativeFn, dtype: DType, reverse: boolean): void {
  const size = bytesOf(dtype);
  defineUnits(module, "cumulative", (f, unit, word) => {
    const n = word(N);
    const start = f.i32.mul(f.i32.mul(unit, n), size);
    const direction = reverse ? -size : size;
    const last = reverse ? f.i32.add(start, f.i32.mul(f.i32.sub(n, 1), size)) : start;
    const from = f.variable("i32", f.i32.add(word(X), last));
    const to = f.variable("i32", f.i32.add(word(OUT), last));
    const one = neutral(f, fn, dtype, 1);
    const carry = f.vecVariable(one, 1);
    const left = f.variable("i32", n);
    // Lane 0 is the element that comes first in the direction of the scan.
    const scan = (x: Vec): Vec => {
      const pairs = combine(f, fn, dtype, x, f.v128.shuffle(one, x, [0, 4, 5, 6]));
      const fours = combine(f, fn, dtype, pairs, f.v128.shuffle(one, pairs, [0, 1, 4, 5]));
      const y = settle(f, dtype, combine(f, fn, dtype, carry, fours));
      f.setVec(carry, f.v128.shuffle(y, y, [3, 3, 3, 3]));
      return y;
    };
    const flip = (x: Vec): Vec => (reverse ? f.v128.shuffle(x, x, [3, 2, 1, 0]) : x);
    const at = (p: Value<"i32">): I32 => (reverse ? f.i32.add(p, -3 * size) : p);
    f.if(f.i32.geU(left, 4), () =>
      f.doWhile(() => {
        storeVector(f, dtype, at(to), flip(scan(flip(loadVector(f, dtype, at(from), 1)))));
        f.advance(from, 4 * direction);
        f.advance(to, 4 * direction);
        f.advance(left, -4);
        return f.i32.geU(left, 4);
      }),
    );
    f.if(left, () => {
      const y = scan(loadTail(f, module, dtype, from, direction, left, 1));
      storeTail(f, module, dtype, to, direction, left, y);
    });
  });
}

/** `x -> running sum, product, maximum or minimum` of the same shape. */
export const cumulative: WasmSource<PrimitiveParams["cumulative"]> = {
  lower: ({ inputs, params: { fn, axis, reverse } }) => {
    const { shape, dtype } = inputs[0]!;
    const { outer, n, inner } = around(shape, axis);
    if (outer * n * inner === 0) return { steps: [] };
    const columns = inner > 1;
    const chunks = columns ? Math.ceil(inner / COLUMNS) : 1;
    return {
      steps: [
        {
          kernel: {
            key: `cumulative ${columns} ${fn} ${dtype} ${reverse}`,
            build: (module) => (columns ? buildColumns : buildRows)(module, fn, dtype, reverse),
          },
          entry: "cumulative",
          args: [{ input: 0 }, { output: 0 }, n, inner, chunks],
          units: outer * chunks,
          grain: Math.max(1, Math.floor(16_384 / (n * Math.min(inner, COLUMNS)))),
          scratchBytes: 0,
        },
      ],
    };
  },
};
