// Emits the kernel of a LoopStep: for units of rows, for vectors along the inner axis, load, compute, store. Sizes, strides and
// constants are run-time words.

import type { FunctionBuilder, I32, ModuleBuilder, Value, Variable } from "@everlong/wasm";
import { accessOf, FusedEmitter, pointerCount, unitOf, type FusedSpec } from "./fused-code.ts";
import { forRowRuns, minU } from "./row-cursor.ts";
import { transposer } from "./tile-transpose.ts";

/** Word positions in the argument block; pointers, inner strides, constants and the dims table follow. */
export const LOOP_HEADER = { inner: 0, chunk: 1, chunks: 2, rows: 3, group: 4, blocks: 5, table: 6 } as const;
export const LOOP_HEADER_WORDS = 7;

/** Rows and columns of a tile that is transposed into scratch. */
export const TILE = 64;
const pitchOf = (bytes: number): number => TILE * bytes + 16;

/** Lanes of one v128: what is left of a row goes in fours, then in less. */
const QUAD = 4;

/** The code for whole vectors and for single v128; the same one where vectors are single. */
interface Emitters {
  readonly whole: FusedEmitter;
  readonly quad: FusedEmitter;
}

/** Scratch bytes that the kernel of `spec` needs. */
export function loopScratch(spec: FusedSpec): number {
  return spec.args.reduce(
    (sum, a, k) => sum + (a.access === "tile" ? TILE * pitchOf(unitOf(spec, k)) : 0),
    0,
  );
}

/** Defines the entry `loop`. */
export function buildLoop(module: ModuleBuilder, spec: FusedSpec): void {
  const count = pointerCount(spec);
  const tiles = spec.args.flatMap((a, k) => (a.access === "tile" ? [k] : []));
  const transposers = new Map(tiles.map((k) => [k, transposer(module, unitOf(spec, k) as 1 | 2 | 4)]));
  const signature = { params: ["i32", "i32", "i32", "i32"], exported: true } as const;
  module.define("loop", signature, (f, args, begin, end, scratch) => {
    const whole = new FusedEmitter(f, module, spec, f.width);
    const quad = f.width === 1 ? whole : new FusedEmitter(f, module, spec, 1);
    const emitters: Emitters = { whole, quad };
    const word = (index: number): Value<"i32"> => f.mem.i32.load(args, 4 * index);
    const inner = word(LOOP_HEADER.inner);
    const chunk = word(LOOP_HEADER.chunk);
    const chunks = word(LOOP_HEADER.chunks);
    const group = word(LOOP_HEADER.group);
    const blocks = word(LOOP_HEADER.blocks);
    const table = f.i32.add(args, word(LOOP_HEADER.table));
    const bases = LOOP_HEADER_WORDS;
    const strides = Array.from({ length: count }, (_, k) => word(bases + count + k));
    for (const e of new Set([whole, quad])) e.prologue(args, 4 * (bases + 2 * count), strides);

    const unit = f.variable("i32", begin);
    f.doWhile(() => {
      const rowBlock = f.i32.divU(unit, chunks);
      const column = f.i32.mul(f.i32.sub(unit, f.i32.mul(rowBlock, chunks)), chunk);
      const columns = minU(f, chunk, f.i32.sub(inner, column));
      const outer = f.i32.divU(rowBlock, blocks);
      const block = f.i32.sub(rowBlock, f.i32.mul(outer, blocks));
      const rows = word(LOOP_HEADER.rows);
      const first = f.i32.add(f.i32.mul(outer, group), f.i32.mul(block, rows));
      const last = minU(f, f.i32.add(first, rows), f.i32.mul(f.i32.add(outer, 1), group));
      const start = (k: number): Value<"i32"> => f.i32.add(word(bases + k), f.i32.mul(column, strides[k]!));
      forRowRuns(f, table, first, last, count, start, ({ pointers, run, next }) => {
        const tilePointers = new Map<number, Variable<"i32">>();
        let offset = 0;
        for (const k of tiles) {
          const pitch = pitchOf(unitOf(spec, k));
          const at = f.variable("i32", f.i32.add(scratch, offset));
          f.call(transposers.get(k)!, pointers[k]!, strides[k]!, at, f.i32.constant(pitch), run, columns);
          tilePointers.set(k, at);
          offset += TILE * pitch;
        }
        const left = f.variable("i32", run);
        f.doWhile(() => {
          const at = pointers.map((p, k) => f.variable("i32", tilePointers.get(k) ?? p));
          emitRow(f, emitters, spec, at, strides, columns);
          next();
          for (const [k, p] of tilePointers) f.advance(p, pitchOf(unitOf(spec, k)));
          f.advance(left, -1);
          return left;
        });
      });
      f.advance(unit, 1);
      return f.i32.ltU(unit, end);
    });
  });
}

function emitRow(
  f: FunctionBuilder,
  { whole, quad }: Emitters,
  spec: FusedSpec,
  pointers: readonly Variable<"i32">[],
  strides: readonly Value<"i32">[],
  columns: I32,
): void {
  const tail = f.i32.and(columns, f.lanes - 1);
  const full = f.i32.sub(columns, tail);
  const move = (steps: readonly I32[]): void => pointers.forEach((p, k) => f.advance(p, steps[k]!));
  f.if(full, () => {
    whole.row(pointers);
    const left = f.variable("i32", full);
    const steps = vectorSteps(f, spec, strides, f.lanes);
    f.doWhile(() => {
      whole.store(pointers);
      move(steps);
      f.advance(left, -f.lanes);
      return left;
    });
  });
  f.if(tail, () => {
    quad.row(pointers);
    if (f.lanes > QUAD) {
      f.if(f.i32.geU(tail, QUAD), () => {
        quad.store(pointers);
        move(vectorSteps(f, spec, strides, QUAD));
      });
    }
    const rest = f.lanes > QUAD ? f.i32.and(tail, QUAD - 1) : tail;
    f.if(rest, () => quad.store(pointers, rest));
  });
}

/** Bytes that each pointer moves per `lanes` elements. */
export function vectorSteps(
  f: FunctionBuilder,
  spec: FusedSpec,
  strides: readonly Value<"i32">[],
  lanes: number,
): I32[] {
  return strides.map((stride, k): I32 => {
    const access = accessOf(spec, k);
    if (access === "splat") return 0;
    return access === "lanes" ? f.i32.mul(stride, lanes) : unitOf(spec, k) * lanes;
  });
}
