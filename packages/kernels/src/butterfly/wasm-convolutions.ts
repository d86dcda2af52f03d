// Convolutions through butterflies, fused: nothing but sequences and filters is read, nothing but results is written.

import type { FunctionBuilder, FunctionRef, ModuleBuilder, Vec } from "@everlong/wasm";
import { clear } from "../wasm-blocks.ts";
import { argReader, smaller, type I32Value } from "../wasm-emit.ts";
import {
  ARGS,
  filterRows,
  groupOf,
  loadSequence,
  rowsOf,
  sequenceMove,
  transformDown,
  transformUp,
  type Moves,
  type Reader,
} from "./wasm-kernels.ts";
import { vectorBytes, type Stages } from "./wasm-stages.ts";

/** Filters' spectra once for a group of channels, then every example of a unit from end to end; and the filters' gradient. */
export function defineConvolutions(module: ModuleBuilder, stages: Stages, moves: Moves): void {
  const vector = vectorBytes(module.target.width);
  /** `to (+)= a b` or `a conj(b)`, times a scale, over two planes. */
  const product = (name: string, conjugate: boolean, add: boolean): FunctionRef =>
    module.define(name, { params: ["i32", "i32", "i32", "i32", "f32"] }, (f, a, b, to, imag, scale) => {
      f.loop(0, imag, vector, (at) => {
        const pair = (base: I32Value): readonly [Vec, Vec] => {
          const from = f.i32.add(base, at);
          return [f.mem.vec.load(from), f.mem.vec.load(f.i32.add(from, imag))];
        };
        const factor = f.f32x4.splat(scale);
        const [ar, ai] = pair(a);
        const [br, bi] = pair(b).map((v) => f.f32x4.mul(v, factor)) as [Vec, Vec];
        const [plus, minus] = [f.f32x4.madd, f.f32x4.nmadd];
        const re = (conjugate ? plus : minus).call(f.f32x4, ai, bi, f.f32x4.mul(ar, br));
        const im = (conjugate ? minus : plus).call(f.f32x4, ar, bi, f.f32x4.mul(ai, br));
        const out = f.i32.add(to, at);
        const outImag = f.i32.add(out, imag);
        f.mem.vec.store(out, 0, add ? f.f32x4.add(f.mem.vec.load(out), re) : re);
        f.mem.vec.store(outImag, 0, add ? f.f32x4.add(f.mem.vec.load(outImag), im) : im);
      });
    });
  const multiply = product("multiply", false, false);
  const multiplyConjugate = product("multiplyConjugate", true, false);
  const correlateAdd = product("correlateAdd", true, true);

  const define = (
    entry: string,
    body: (
      f: FunctionBuilder,
      at: { args: I32Value; arg: Reader; imag: I32Value; plane: I32Value; scratch: I32Value; unit: I32Value },
    ) => void,
  ): void => {
    module.define(
      entry,
      { params: ["i32", "i32", "i32", "i32"], exported: true },
      (f, args, begin, end, scratch) => {
        const arg = argReader(f, args, ARGS);
        const imag = f.i32.mul(arg("size"), vector);
        f.loop(begin, end, 1, (unit) =>
          body(f, { args, arg, imag, plane: f.i32.shl(imag, 1), scratch, unit: f.i32.add(unit, 0) }),
        );
      },
    );
  };
  const scaleOf = (f: FunctionBuilder, args: I32Value): ReturnType<typeof f.mem.f32.load> =>
    f.mem.f32.load(args, 4 * ARGS.indexOf("scale"));

  define("butterflyConvolve", (f, { args, arg, imag, plane, scratch, unit }) => {
    // unit = group * blocks of the batch + block
    const group = f.i32.divU(unit, arg("batchBlocks"));
    const block = f.i32.sub(unit, f.i32.mul(group, arg("batchBlocks")));
    const each = f.i32.divU(f.i32.add(arg("batch"), f.i32.sub(arg("batchBlocks"), 1)), arg("batchBlocks"));
    const filter = f.i32.add(scratch, arg("tile"));
    const work = f.i32.add(filter, plane);
    const first = groupOf(f, arg, f.i32.mul(block, each), group);
    const taps = filterRows(f, arg, first);
    loadSequence(f, moves, arg, taps, first.present, filter);
    transformUp(f, stages, { args, arg, work: filter, imag, tile: scratch, count: taps.count });
    f.loop(first.batch, smaller(f, f.i32.add(first.batch, each), arg("batch")), 1, (b) => {
      const u = { ...first, batch: f.i32.add(b, 0) };
      const rows = rowsOf(f, arg, "x", u);
      const here = { args, arg, work, imag, tile: scratch, count: rows.count };
      loadSequence(f, moves, arg, rows, u.present, work);
      transformUp(f, stages, here);
      const rest = [work, filter, work, imag, scaleOf(f, args)] as const;
      f.if(
        arg("adjoint"),
        () => f.call(multiplyConjugate, ...rest),
        () => f.call(multiply, ...rest),
      );
      transformDown(f, stages, here);
      sequenceMove(f, moves.scatter, rowsOf(f, arg, "y", u), u.present, work);
    });
  });

  define("butterflyFilterGrad", (f, { args, arg, imag, plane, scratch, unit }) => {
    const total = f.i32.add(scratch, arg("tile"));
    const [a, g] = [f.i32.add(total, plane), f.i32.add(total, f.i32.shl(plane, 1))];
    clear(f, total, plane);
    f.loop(0, arg("batch"), 1, (b) => {
      const u = groupOf(f, arg, f.i32.add(b, 0), unit);
      for (const [name, work] of [
        ["x", a],
        ["y", g],
      ] as const) {
        const rows = rowsOf(f, arg, name, u);
        loadSequence(f, moves, arg, rows, u.present, work);
        transformUp(f, stages, { args, arg, work, imag, tile: scratch, count: rows.count });
      }
      f.call(correlateAdd, g, a, total, imag, scaleOf(f, args));
    });
    const u = groupOf(f, arg, f.i32.constant(0), unit);
    const taps = filterRows(f, arg, u);
    transformDown(f, stages, { args, arg, work: total, imag, tile: scratch, count: taps.count });
    sequenceMove(f, moves.scatter, taps, u.present, total);
  });
}
