// The base copied, then updates written or added along an axis, in the order of their positions: units share no output element, so
// the order of additions is fixed.

import { contiguousView, type PrimitiveParams } from "@everlong/core";
import type { WasmSource } from "@everlong/kernels/wasm";
import type { FunctionBuilder, ModuleBuilder, Value, Variable } from "@everlong/wasm";
import { copy } from "../call-lowering.ts";
import type { WasmStep } from "../kernel-step.ts";
import { bytesOf } from "../lane-formats.ts";
import { around, groupStrides } from "./axis-groups.ts";
import { chunkOf, defineUnits, loadBits, storeBits } from "./units.ts";

/** Columns of a unit: two cache lines of float32. */
const CHUNK = 32;

// Argument words.
const INDICES = 0;
const UPDATES = 1;
const OUT = 2;
const N = 3;
const M = 4;
const INNER = 5;
const CHUNKS = 6;
const INDEX_STRIDES = 7;
const UPDATE_STRIDES = 10;

type Kind = "f32" | "int";

/** Puts the element at `from` onto the one at `to`. */
function put(
  f: FunctionBuilder,
  size: 1 | 2 | 4,
  add: Kind | undefined,
  from: Value<"i32">,
  to: Value<"i32">,
): void {
  if (add === "f32") f.mem.f32.store(to, 0, f.f32.add(f.mem.f32.load(to), f.mem.f32.load(from)));
  else if (add === "int") storeBits(f, size, to, f.i32.add(loadBits(f, size, to), loadBits(f, size, from)));
  else storeBits(f, size, to, loadBits(f, size, from));
}

function build(module: ModuleBuilder, size: 1 | 2 | 4, add: Kind | undefined, rows: boolean): void {
  defineUnits(module, "scatter", (f, unit, word) => {
    const [n, m, inner] = [word(N), word(M), word(INNER)];
    const { place, start, count } = chunkOf(f, unit, inner, f.i32.constant(CHUNK), word(CHUNKS));
    const [iAxis, iInner] = [word(INDEX_STRIDES + 1), word(INDEX_STRIDES + 2)];
    const [uAxis, uInner] = [word(UPDATE_STRIDES + 1), word(UPDATE_STRIDES + 2)];
    const pointer = (base: number, strides: number): Variable<"i32"> =>
      f.variable(
        "i32",
        f.i32.add(
          f.i32.add(word(base), f.i32.mul(place, word(strides))),
          f.i32.mul(start, word(strides + 2)),
        ),
      );
    const indexRow = pointer(INDICES, INDEX_STRIDES);
    const updateRow = pointer(UPDATES, UPDATE_STRIDES);
    const rowBytes = f.i32.mul(inner, size);
    const out = f.i32.add(
      f.i32.add(word(OUT), f.i32.mul(f.i32.mul(place, n), rowBytes)),
      f.i32.mul(start, size),
    );
    f.loop(0, m, 1, () => {
      const from = f.variable("i32", updateRow);
      if (rows) {
        const index = f.mem.i32.load(indexRow);
        f.if(f.i32.ltU(index, n), () => {
          const to = f.variable("i32", f.i32.add(out, f.i32.mul(index, rowBytes)));
          const left = f.variable("i32", count);
          if (add === "f32") {
            f.if(f.i32.geU(left, f.lanes), () =>
              f.doWhile(() => {
                f.mem.vec.store(to, 0, f.f32x4.add(f.mem.vec.load(to), f.mem.vec.load(from)));
                f.advance(from, 4 * f.lanes);
                f.advance(to, 4 * f.lanes);
                f.advance(left, -f.lanes);
                return f.i32.geU(left, f.lanes);
              }),
            );
          }
          f.loop(0, left, 1, () => {
            put(f, size, add, from, to);
            f.advance(from, size);
            f.advance(to, size);
          });
        });
      } else {
        const at = f.variable("i32", indexRow);
        const column = f.variable("i32", out);
        f.loop(0, count, 1, () => {
          const index = f.mem.i32.load(at);
          f.if(f.i32.ltU(index, n), () =>
            put(f, size, add, from, f.i32.add(column, f.i32.mul(index, rowBytes))),
          );
          f.advance(at, iInner);
          f.advance(from, uInner);
          f.advance(column, size);
        });
      }
      f.advance(indexRow, iAxis);
      f.advance(updateRow, uAxis);
    });
  });
}

/** `(base, indices i32, updates) -> base with updates`; indices out of range are dropped. */
export const scatter: WasmSource<PrimitiveParams["scatter"]> = {
  accepts: (input, view, call) => input === 0 || groupStrides(view, call.params.axis) !== undefined,
  lower: ({ inputs, outputs, params }) => {
    const [base, indices, updates] = [inputs[0]!, inputs[1]!, inputs[2]!];
    const { axis, mode } = params;
    const { dtype } = base;
    if (mode === "add" && (dtype === "f16" || dtype === "bf16")) return "adds in f32 only";
    const size = bytesOf(dtype);
    const { outer, n, inner } = around(base.shape, axis);
    const m = indices.shape[axis]!;
    const operand = { buffer: -1, dtype, view: base };
    const whole = { buffer: -1, dtype, view: contiguousView(outputs[0]!.shape) };
    const first = copy(operand, { input: 0 }, whole, { output: 0 });
    if (outer * n * inner * m === 0) return { steps: first };
    const indexStrides = groupStrides(indices, axis)!.map((s) => s * 4);
    const updateStrides = groupStrides(updates, axis)!.map((s) => s * size);
    const rows = (indexStrides[2] === 0 || inner === 1) && (updateStrides[2] === size || inner === 1);
    const add = mode === "set" ? undefined : dtype === "f32" ? "f32" : "int";
    const chunks = Math.ceil(inner / CHUNK);
    const step: WasmStep = {
      kernel: { key: `scatter ${size} ${add} ${rows}`, build: (module) => build(module, size, add, rows) },
      entry: "scatter",
      args: [
        { input: 1 },
        { input: 2 },
        { output: 0 },
        n,
        m,
        inner,
        chunks,
        ...indexStrides,
        ...updateStrides,
      ],
      units: outer * chunks,
      grain: Math.max(1, Math.floor(4096 / (m * Math.min(inner, CHUNK)))),
      scratchBytes: 0,
    };
    return { steps: [...first, step] };
  },
};
