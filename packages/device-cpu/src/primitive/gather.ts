// out[o, i, k] = x[o, indices[o, i, k], k]: whole rows at a time where the index does not depend on k and rows are dense.

import type { PrimitiveParams } from "@everlong/core";
import type { WasmSource } from "@everlong/kernels/wasm";
import type { FunctionBuilder, ModuleBuilder, Value } from "@everlong/wasm";
import type { WasmStep } from "../kernel-step.ts";
import { bytesOf } from "../lane-formats.ts";
import { around, groupStrides } from "./axis-groups.ts";
import { chunkOf, copyBytes, defineUnits, loadBits, storeBits } from "./units.ts";

const UNIT_ELEMENTS = 8192;

// Argument words.
const X = 0;
const INDICES = 1;
const OUT = 2;
/** Picks per outer index, picks per unit, units per outer index. */
const M = 3;
const CHUNK = 4;
const CHUNKS = 5;
const LAST = 6;
const INNER = 7;
/** Bytes per step of (outer, axis, inner). */
const X_STRIDES = 8;
const INDEX_STRIDES = 11;

function clamped(f: FunctionBuilder, index: Value<"i32">, last: Value<"i32">): Value<"i32"> {
  const low = f.select(f.i32.ltS(index, last), index, last);
  return f.select(f.i32.ltS(low, 0), 0, low);
}

function build(module: ModuleBuilder, size: 1 | 2 | 4, rows: boolean): void {
  defineUnits(module, "gather", (f, unit, word) => {
    const m = word(M);
    const inner = word(INNER);
    const last = word(LAST);
    const { place, start, count } = chunkOf(f, unit, m, word(CHUNK), word(CHUNKS));
    const [xAxis, xInner] = [word(X_STRIDES + 1), word(X_STRIDES + 2)];
    const [iAxis, iInner] = [word(INDEX_STRIDES + 1), word(INDEX_STRIDES + 2)];
    const x = f.i32.add(word(X), f.i32.mul(place, word(X_STRIDES)));
    const indexRow = f.variable(
      "i32",
      f.i32.add(f.i32.add(word(INDICES), f.i32.mul(place, word(INDEX_STRIDES))), f.i32.mul(start, iAxis)),
    );
    const rowBytes = f.i32.mul(inner, size);
    const out = f.variable(
      "i32",
      f.i32.add(word(OUT), f.i32.mul(f.i32.add(f.i32.mul(place, m), start), rowBytes)),
    );
    f.loop(0, count, 1, () => {
      if (rows) {
        const index = clamped(f, f.mem.i32.load(indexRow), last);
        copyBytes(f, f.i32.add(x, f.i32.mul(index, xAxis)), out, rowBytes);
        f.advance(out, rowBytes);
      } else {
        const column = f.variable("i32", x);
        const at = f.variable("i32", indexRow);
        f.loop(0, inner, 1, () => {
          const index = clamped(f, f.mem.i32.load(at), last);
          storeBits(f, size, out, loadBits(f, size, f.i32.add(column, f.i32.mul(index, xAxis))));
          f.advance(out, size);
          f.advance(column, xInner);
          f.advance(at, iInner);
        });
      }
      f.advance(indexRow, iAxis);
    });
  });
}

/** `(x, indices i32) -> picked elements`, indices clamped. */
export const gather: WasmSource<PrimitiveParams["gather"]> = {
  accepts: (_, view, call) => groupStrides(view, call.params.axis) !== undefined,
  lower: ({ inputs, params }) => {
    const [x, indices] = [inputs[0]!, inputs[1]!];
    const { axis } = params;
    const size = bytesOf(x.dtype);
    const { outer, n: m, inner } = around(indices.shape, axis);
    if (outer * m * inner === 0) return { steps: [] };
    const xStrides = groupStrides(x, axis)!.map((s) => s * size);
    const indexStrides = groupStrides(indices, axis)!.map((s) => s * 4);
    const rows = indexStrides[2] === 0 && (xStrides[2] === size || inner === 1);
    const chunk = Math.max(1, Math.min(m, Math.floor(UNIT_ELEMENTS / inner)));
    const chunks = Math.ceil(m / chunk);
    const step: WasmStep = {
      kernel: { key: `gather ${size} ${rows}`, build: (module) => build(module, size, rows) },
      entry: "gather",
      args: [
        { input: 0 },
        { input: 1 },
        { output: 0 },
        m,
        chunk,
        chunks,
        x.shape[axis]! - 1,
        inner,
        ...xStrides,
        ...indexStrides,
      ],
      units: outer * chunks,
      grain: Math.max(1, Math.floor(UNIT_ELEMENTS / (chunk * inner))),
      scratchBytes: 0,
    };
    return { steps: [step] };
  },
};
