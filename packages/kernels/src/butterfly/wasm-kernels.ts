// The kernels of butterflies: a unit is a group of channels of one example, transformed in scratch memory from end to end.

import type { FunctionBuilder, FunctionRef, ModuleBuilder } from "@everlong/wasm";
import { clear, defineGather, defineScatter } from "../wasm-blocks.ts";
import { argReader, smaller, type I32Value } from "../wasm-emit.ts";
import { MAX_STAGES } from "./transform-shape.ts";
import { defineStages, vectorBytes, type Stages } from "./wasm-stages.ts";

export const STAGES: readonly number[] = Array.from({ length: MAX_STAGES }, (_, i) => i);
/** Words of all kernels: strides in bytes; `x` are sequences, `re` and `im` spectra `[B, N, D]`. */
const OWN_ARGS = [
  "x",
  "xBatch",
  "xChannel",
  "xTime",
  "re",
  "im",
  "spectrumBatch",
  "spectrumTime",
  "spectrumChannel",
  "channels",
  "groups",
  "length",
  "size",
  "stages",
  // rows of the first matrix's input that hold something
  "count",
  "table",
  "tile",
  // of the matrices' gradient: parts, units of work, bytes of a part
  "sums",
  "parts",
  "work",
  "partBytes",
  "sumBytes",
  // of convolutions: filters, second sequences (results, or cotangents), and how the batch is cut into units
  "k",
  "kChannel",
  "kTap",
  "taps",
  "tapCount",
  "y",
  "yBatch",
  "yChannel",
  "yTime",
  "batch",
  "batchBlocks",
  "adjoint",
  "scale",
] as const;
/** Words of a call: sizes `m` and addresses `w` of the matrices stand behind the others. */
export type Arg = (typeof OWN_ARGS)[number] | `m${number}` | `w${number}`;
export const ARGS: readonly Arg[] = [
  ...OWN_ARGS,
  ...STAGES.map((i) => `m${i}` as const),
  ...STAGES.map((i) => `w${i}` as const),
];
export type Reader = (name: Arg) => I32Value;

const sum = (f: FunctionBuilder, ...terms: I32Value[]): I32Value => terms.reduce((a, b) => f.i32.add(a, b));

/** The stages of a transform in order or backwards. */
function eachStage(
  f: FunctionBuilder,
  args: I32Value,
  arg: Reader,
  order: "up" | "down",
  body: (s: {
    index: I32Value;
    m: I32Value;
    n: I32Value;
    blocks: I32Value;
    w: I32Value;
    table: I32Value;
    first: I32Value;
  }) => void,
): void {
  const word = (name: "m0" | "w0", index: I32Value): I32Value =>
    f.mem.i32.load(f.i32.add(args, f.i32.shl(index, 2)), 4 * ARGS.indexOf(name));
  const up = order === "up";
  const n = f.variable("i32", up ? arg("size") : 1);
  const blocks = f.variable("i32", up ? 1 : arg("size"));
  const table = f.variable("i32", up ? arg("table") : f.i32.add(arg("table"), arg("sumBytes")));
  f.loop(0, arg("stages"), 1, (step) => {
    const index = up ? f.i32.add(step, 0) : f.i32.sub(f.i32.sub(arg("stages"), 1), step);
    const m = word("m0", index);
    if (up) f.set(n, f.i32.divU(n, m));
    else f.set(blocks, f.i32.divU(blocks, m));
    const bytes = f.i32.shl(f.i32.mul(m, n), 3);
    if (!up) f.set(table, f.i32.sub(table, bytes));
    body({ index, m, n, blocks, w: word("w0", index), table, first: f.i32.eqz(index) });
    if (up) {
      f.set(blocks, f.i32.mul(blocks, m));
      f.set(table, f.i32.add(table, bytes));
    } else f.set(n, f.i32.mul(n, m));
  });
}

/** What a unit works on: an example and a group of channels. */
interface Unit {
  readonly batch: I32Value;
  readonly channel: I32Value;
  readonly present: I32Value;
}

export const groupOf = (f: FunctionBuilder, arg: Reader, batch: I32Value, group: I32Value): Unit => {
  const channel = f.i32.mul(group, f.lanes);
  return { batch, channel, present: smaller(f, f.i32.sub(arg("channels"), channel), f.lanes) };
};

function unitOf(f: FunctionBuilder, arg: Reader, unit: I32Value): Unit {
  const batch = f.i32.divU(unit, arg("groups"));
  return groupOf(f, arg, batch, f.i32.sub(unit, f.i32.mul(batch, arg("groups"))));
}

export interface Moves {
  readonly gather: FunctionRef;
  readonly scatter: FunctionRef;
}

/** Where a group of sequences lies. */
interface Rows {
  readonly at: I32Value;
  readonly time: I32Value;
  readonly channel: I32Value;
  readonly length: I32Value;
  /** Rows of the first matrix that it reaches. */
  readonly count: I32Value;
}

export const rowsOf = (f: FunctionBuilder, arg: Reader, name: "x" | "y", u: Unit): Rows => ({
  at: sum(f, arg(name), f.i32.mul(u.batch, arg(`${name}Batch`)), f.i32.mul(u.channel, arg(`${name}Channel`))),
  time: arg(`${name}Time`),
  channel: arg(`${name}Channel`),
  length: arg("length"),
  count: arg("count"),
});
export const filterRows = (f: FunctionBuilder, arg: Reader, u: Unit): Rows => ({
  at: f.i32.add(arg("k"), f.i32.mul(u.channel, arg("kChannel"))),
  time: arg("kTap"),
  channel: arg("kChannel"),
  length: arg("taps"),
  count: arg("tapCount"),
});

export const sequenceMove = (
  f: FunctionBuilder,
  move: FunctionRef,
  rows: Rows,
  present: I32Value,
  block: I32Value,
): void => {
  f.call(move, rows.at, rows.time, rows.channel, rows.length, present, block);
};

const spectrumMove = (
  f: FunctionBuilder,
  move: FunctionRef,
  arg: Reader,
  u: Unit,
  work: I32Value,
  imag: I32Value,
): void => {
  const from = f.i32.add(
    f.i32.mul(u.batch, arg("spectrumBatch")),
    f.i32.mul(u.channel, arg("spectrumChannel")),
  );
  const rest = [arg("spectrumTime"), arg("spectrumChannel"), arg("size"), u.present] as const;
  f.call(move, f.i32.add(arg("re"), from), ...rest, work);
  f.call(move, f.i32.add(arg("im"), from), ...rest, f.i32.add(work, imag));
};

/** The real sequence of a unit, with zeros up to the last row of the first matrix that is read. */
export function loadSequence(
  f: FunctionBuilder,
  moves: Moves,
  arg: Reader,
  rows: Rows,
  present: I32Value,
  work: I32Value,
): void {
  const vector = vectorBytes(f.width);
  sequenceMove(f, moves.gather, rows, present, work);
  const read = f.i32.mul(rows.count, f.i32.divU(arg("size"), arg("m0")));
  const from = f.i32.add(work, f.i32.mul(rows.length, vector));
  clear(f, from, f.i32.mul(f.i32.sub(read, rows.length), vector));
}

/** All stages of a real sequence in place; scratch begins with the tile. */
export function transformUp(
  f: FunctionBuilder,
  stages: Stages,
  at: { args: I32Value; arg: Reader; work: I32Value; imag: I32Value; tile: I32Value; count: I32Value },
): void {
  const { args, arg, work, imag, tile, count } = at;
  eachStage(f, args, arg, "up", ({ m, n, blocks, w, table, first }) => {
    const rest = [work, work, imag, w, table, blocks, m, n, tile] as const;
    f.if(
      first,
      () => f.call(stages.forwardReal, ...rest, count),
      () => f.call(stages.forward, ...rest, m),
    );
  });
}

/** The conjugate transpose in place, down to real parts of the first `count` rows. */
export function transformDown(
  f: FunctionBuilder,
  stages: Stages,
  at: Parameters<typeof transformUp>[2],
): void {
  const { args, arg, work, imag, tile, count } = at;
  eachStage(f, args, arg, "down", ({ m, n, blocks, w, table, first }) => {
    const rest = [work, imag, w, table, blocks, m, n, tile] as const;
    f.if(
      first,
      () => f.call(stages.backwardReal, ...rest, count),
      () => f.call(stages.backward, ...rest, m),
    );
  });
}

export function buildTransforms(module: ModuleBuilder): { stages: Stages; moves: Moves } {
  const stages = defineStages(module);
  const moves = {
    gather: defineGather(module, module.target.width * 4),
    scatter: defineScatter(module, module.target.width * 4),
  };
  const vector = vectorBytes(module.target.width);
  module.define(
    "butterfly",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const imag = f.i32.mul(arg("size"), vector);
      const work = f.i32.add(scratch, arg("tile"));
      f.loop(begin, end, 1, (unit) => {
        const u = unitOf(f, arg, unit);
        loadSequence(f, moves, arg, rowsOf(f, arg, "x", u), u.present, work);
        transformUp(f, stages, { args, arg, work, imag, tile: scratch, count: arg("count") });
        spectrumMove(f, moves.scatter, arg, u, work, imag);
      });
    },
  );
  module.define(
    "butterflyAdjoint",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const imag = f.i32.mul(arg("size"), vector);
      const work = f.i32.add(scratch, arg("tile"));
      f.loop(begin, end, 1, (unit) => {
        const u = unitOf(f, arg, unit);
        spectrumMove(f, moves.gather, arg, u, work, imag);
        transformDown(f, stages, { args, arg, work, imag, tile: scratch, count: arg("count") });
        sequenceMove(f, moves.scatter, rowsOf(f, arg, "x", u), u.present, work);
      });
    },
  );
  defineMatrixGrad(module, stages, moves);
  return { stages, moves };
}

/** Scratch: tile, sums of all matrices, two cotangents, the input of every stage. */
function defineMatrixGrad(module: ModuleBuilder, stages: Stages, moves: Moves): void {
  const vector = vectorBytes(module.target.width);
  module.define(
    "butterflyMatrixGrad",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const imag = f.i32.mul(arg("size"), vector);
      const plane = f.i32.shl(imag, 1);
      const sums = f.i32.add(scratch, arg("tile"));
      // sums hold vectors where the result holds numbers
      const cotangents = f.i32.add(sums, f.i32.mul(arg("partBytes"), vector / 4));
      const inputs = f.i32.add(cotangents, f.i32.shl(plane, 1));
      f.loop(begin, end, 1, (part) => {
        clear(f, sums, f.i32.mul(arg("partBytes"), vector / 4));
        const each = f.i32.divU(f.i32.add(arg("work"), f.i32.sub(arg("parts"), 1)), arg("parts"));
        const from = f.i32.mul(part, each);
        f.loop(from, smaller(f, f.i32.add(from, each), arg("work")), 1, (unit) => {
          const u = unitOf(f, arg, unit);
          loadSequence(f, moves, arg, rowsOf(f, arg, "x", u), u.present, inputs);
          // the rows of the first input that no sequence reaches, and its imaginary part
          const read = f.i32.mul(f.i32.mul(arg("count"), f.i32.divU(arg("size"), arg("m0"))), vector);
          clear(f, f.i32.add(inputs, read), f.i32.sub(plane, read));
          eachStage(f, args, arg, "up", ({ index, m, n, blocks, w, table, first }) => {
            const x = f.i32.add(inputs, f.i32.mul(index, plane));
            const rest = [x, f.i32.add(x, plane), imag, w, table, blocks, m, n, scratch] as const;
            // what the last stage gives is not needed
            f.if(f.i32.ltU(f.i32.add(index, 1), arg("stages")), () => {
              f.if(
                first,
                () => f.call(stages.forwardReal, ...rest, arg("count")),
                () => f.call(stages.forward, ...rest, m),
              );
            });
          });
          const here = f.variable("i32", cotangents);
          const other = f.variable("i32", f.i32.add(cotangents, plane));
          spectrumMove(f, moves.gather, arg, u, cotangents, imag);
          const sumsAt = f.variable("i32", f.i32.add(sums, f.i32.mul(arg("partBytes"), vector / 4)));
          eachStage(f, args, arg, "down", ({ index, m, n, blocks, w, table, first }) => {
            f.call(stages.untwist, here, imag, table, blocks, m, n);
            f.set(sumsAt, f.i32.sub(sumsAt, f.i32.mul(f.i32.mul(m, m), 2 * vector)));
            const x = f.i32.add(inputs, f.i32.mul(index, plane));
            f.call(stages.correlate, here, x, imag, sumsAt, blocks, m, n);
            f.if(f.i32.eqz(first), () => {
              f.call(stages.transposed, here, other, imag, w, blocks, m, n);
              const swap = f.variable("i32", here);
              f.set(here, other);
              f.set(other, swap);
            });
          });
        });
        // lanes in their order; a matrix's real plane, then its imaginary one
        const to = f.variable("i32", f.i32.add(arg("sums"), f.i32.mul(part, arg("partBytes"))));
        const at = f.variable("i32", sums);
        eachStage(f, args, arg, "up", ({ m }) => {
          const entries = f.i32.mul(m, m);
          const planeBytes = f.i32.shl(entries, 2);
          f.loop(0, entries, 1, () => {
            for (const part2 of [0, 1]) {
              let total = f.mem.f32.load(at, part2 * vector);
              for (let lane = 4; lane < vector; lane += 4)
                total = f.f32.add(total, f.mem.f32.load(at, part2 * vector + lane));
              f.mem.f32.store(part2 === 0 ? to : f.i32.add(to, planeBytes), 0, total);
            }
            f.advance(at, 2 * vector);
            f.advance(to, 4);
          });
          f.advance(to, planeBytes);
        });
      });
    },
  );
}
