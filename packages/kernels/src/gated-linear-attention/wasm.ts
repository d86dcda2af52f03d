// The recurrence on the CPU: a unit is a head with 16 (8) columns of its state, whose lanes are the columns.

import { exp, type FunctionRef, type ModuleBuilder } from "@everlong/wasm";
import { named } from "../inputs.ts";
import { clear, defineGather, defineScatter } from "../wasm-blocks.ts";
import {
  argReader,
  argWords,
  byteStride,
  denseRows,
  inputWord,
  loadPlace,
  smaller,
  storePlace,
  targetKey,
  walk,
  type I32Value,
} from "../wasm-emit.ts";
import type { ArgWord, WasmSource } from "../wasm-step.ts";
import type { LinearScanParams } from "./op.ts";

const ARGS = [
  "a",
  "aBatch",
  "aTime",
  "aHead",
  "b",
  "bBatch",
  "bTime",
  "bHead",
  "c",
  "cBatch",
  "cTime",
  "cHead",
  "g",
  "gBatch",
  "gTime",
  "gHead",
  "initial",
  "out",
  "last",
  "time",
  "heads",
  "rows",
  "columns",
  "blocks",
] as const;
type Arg = (typeof ARGS)[number];

/** Steps of time whose columns lie in scratch at once. */
const STRETCH = 32;

interface Kind {
  readonly reverse: boolean;
  readonly decay: "none" | "rows" | "columns";
}

/**
 * `step(a, b, c, rowDecay, columnDecay, state, y, rows)`: one step of time; `b`, `y` and `columnDecay` are one line of lanes, `a`, `c` and
 * `rowDecay` numbers side by side.
 */
function defineStep(module: ModuleBuilder, kind: Kind): FunctionRef {
  return module.define(
    "step",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, a, b, c, rowDecay, columnDecay, state, y, rows) => {
      const vector = 4 * f.lanes;
      const line = 2 * vector;
      const offsets = [0, vector];
      const own = offsets.map((o) => f.mem.vec.load(b, o));
      const shrink =
        kind.decay === "columns" ? offsets.map((o) => f.mem.vec.load(columnDecay, o)) : undefined;
      const sums = offsets.map(() => f.vecVariable(0));
      const end = f.i32.add(state, f.i32.mul(rows, line));
      f.sweep(
        state,
        end,
        [
          [state, line],
          [a, 4],
          [c, 4],
          [rowDecay, kind.decay === "rows" ? 4 : 0],
        ],
        () => {
          const left = f.mem.vec.load32Splat(a);
          const read = f.mem.vec.load32Splat(c);
          const factor = kind.decay === "rows" ? f.mem.vec.load32Splat(rowDecay) : undefined;
          const states = offsets.map((offset, v) => {
            let m = f.mem.vec.load(state, offset);
            const by = factor ?? shrink?.[v];
            if (by && !kind.reverse) m = f.f32x4.mul(m, by);
            m = f.f32x4.madd(left, own[v]!, m);
            f.setVec(sums[v]!, f.f32x4.madd(read, m, sums[v]!));
            return by && kind.reverse ? f.f32x4.mul(m, by) : m;
          });
          states.forEach((m, v) => f.mem.vec.store(state, offsets[v]!, m));
        },
      );
      offsets.forEach((offset, v) => f.mem.vec.store(y, offset, sums[v]!));
    },
  );
}

/** `decays(from, pitch, count, bytes, to)`: e^x of `count` rows of `bytes`, dense at `to`. */
function defineDecays(module: ModuleBuilder): FunctionRef {
  return module.define(
    "decays",
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, from, pitch, count, bytes, to) => {
      f.loop(0, count, 1, () => {
        walk(f, bytes, 1, (p) => storePlace(f, to, p, exp(f, loadPlace(f, from, p))));
        f.advance(from, pitch);
        f.advance(to, bytes);
      });
    },
  );
}

function build(module: ModuleBuilder, kind: Kind): void {
  const width = 8 * module.target.width;
  const line = 4 * width;
  const gather = defineGather(module, width);
  const scatter = defineScatter(module, width);
  const step = defineStep(module, kind);
  const decays = kind.decay === "none" ? undefined : defineDecays(module);
  module.define(
    "linearScan",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const [rows, columns, time, heads] = [arg("rows"), arg("columns"), arg("time"), arg("heads")];
      const sum = (...terms: I32Value[]): I32Value => terms.reduce((x, y) => f.i32.add(x, y));
      const b = scratch;
      const y = f.i32.add(b, STRETCH * line);
      const columnDecay = f.i32.add(y, STRETCH * line);
      const state = f.i32.add(columnDecay, STRETCH * line);
      const rowDecay = f.i32.add(state, f.i32.mul(rows, line));
      f.loop(begin, end, 1, (unit) => {
        // unit = (batch * heads + head) * blocks + block of columns
        const head = f.i32.divU(unit, arg("blocks"));
        const column = f.i32.mul(f.i32.sub(unit, f.i32.mul(head, arg("blocks"))), width);
        const batch = f.i32.divU(head, heads);
        const h = f.i32.sub(head, f.i32.mul(batch, heads));
        const here = smaller(f, f.i32.sub(columns, column), width);
        const start = (name: "a" | "b" | "c" | "g"): I32Value =>
          sum(arg(name), f.i32.mul(batch, arg(`${name}Batch`)), f.i32.mul(h, arg(`${name}Head`)));
        const stateOffset = f.i32.shl(sum(f.i32.mul(f.i32.mul(head, rows), columns), column), 2);
        const statePitch = f.i32.shl(columns, 2);
        f.if(
          arg("initial"),
          () => f.call(gather, f.i32.add(arg("initial"), stateOffset), statePitch, 4, rows, here, state),
          () => clear(f, state, f.i32.mul(rows, line)),
        );
        const outPitch = f.i32.shl(f.i32.mul(heads, columns), 2);
        const out = sum(
          arg("out"),
          f.i32.mul(f.i32.mul(batch, time), outPitch),
          f.i32.shl(f.i32.add(f.i32.mul(h, columns), column), 2),
        );
        f.loop(0, time, STRETCH, (done) => {
          const count = smaller(f, f.i32.sub(time, done), STRETCH);
          const first = kind.reverse ? f.i32.sub(f.i32.sub(time, done), count) : f.i32.add(done, 0);
          const at = (name: "a" | "b" | "c" | "g"): I32Value =>
            f.i32.add(start(name), f.i32.mul(first, arg(`${name}Time`)));
          f.call(gather, f.i32.muladd(column, 4, at("b")), arg("bTime"), 4, count, here, b);
          if (kind.decay === "rows") {
            f.call(decays!, at("g"), arg("gTime"), count, f.i32.shl(rows, 2), rowDecay);
          } else if (kind.decay === "columns") {
            f.call(gather, f.i32.muladd(column, 4, at("g")), arg("gTime"), 4, count, here, columnDecay);
            f.call(decays!, columnDecay, line, count, line, columnDecay);
          }
          const [a, c] = [at("a"), at("c")];
          f.loop(0, count, 1, (k) => {
            const t = kind.reverse ? f.i32.sub(f.i32.sub(count, 1), k) : k;
            const lineAt = f.i32.mul(t, line);
            f.call(
              step,
              f.i32.add(a, f.i32.mul(t, arg("aTime"))),
              f.i32.add(b, lineAt),
              f.i32.add(c, f.i32.mul(t, arg("cTime"))),
              f.i32.add(rowDecay, f.i32.shl(f.i32.mul(t, rows), 2)),
              f.i32.add(columnDecay, lineAt),
              state,
              f.i32.add(y, lineAt),
              rows,
            );
          });
          f.call(scatter, f.i32.add(out, f.i32.mul(first, outPitch)), outPitch, 4, count, here, y);
        });
        f.call(scatter, f.i32.add(arg("last"), stateOffset), statePitch, 4, rows, here, state);
      });
    },
  );
}

export const linearScanWasm: WasmSource<LinearScanParams> = {
  accepts: (input, view, call) =>
    call.params.inputs[input] !== "initial" && view.dtype === "f32" && denseRows(view),
  lower: (call, target) => {
    const { params, inputs } = call;
    if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const at = named(
      params.inputs,
      inputs.map((_, i) => i),
    );
    const [batch, time, heads, rows] = inputs[at.a!]!.shape as [number, number, number, number];
    const columns = inputs[at.b!]!.shape[3]!;
    if (rows === 0) return "a state without rows";
    const width = 8 * target.width;
    const kind: Kind = { reverse: params.reverse, decay: at.g === undefined ? "none" : params.decay };
    const operand = (name: "a" | "b" | "c" | "g"): Record<string, ArgWord> => {
      const view = at[name] === undefined ? undefined : inputs[at[name]]!;
      const axes = { Batch: 0, Time: 1, Head: 2 };
      const strides = Object.entries(axes).map(([axis, i]) => [
        `${name}${axis}`,
        view ? byteStride(view, i) : 0,
      ]);
      return { [name]: view ? inputWord(at[name]!, view) : 0, ...Object.fromEntries(strides) };
    };
    const blocks = Math.ceil(columns / width);
    const values = {
      ...operand("a"),
      ...operand("b"),
      ...operand("c"),
      ...operand("g"),
      initial: at.initial === undefined ? 0 : { input: at.initial },
      out: { output: 0 },
      last: { output: 1 },
      time,
      heads,
      rows,
      columns,
      blocks,
    } as { readonly [K in Arg]: ArgWord };
    return {
      steps: [
        {
          kernel: {
            key: `linearScan/${kind.decay}${kind.reverse ? "/reverse" : ""}/${targetKey(target)}`,
            build: (module) => build(module, kind),
          },
          entry: "linearScan",
          args: argWords(ARGS, values),
          units: batch * heads * blocks,
          grain: 1,
          scratchBytes: 4 * (width * (3 * STRETCH + rows) + STRETCH * rows),
        },
      ],
    };
  },
};
