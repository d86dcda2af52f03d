// Both directions hold the states of a block of channels as lines of lanes, one line per state: everything but the sums of db and
// dc over channels is elementwise.

import type { FunctionBuilder, ModuleBuilder, Target } from "@everlong/wasm";
import { clear, defineGather, defineScatter } from "../wasm-blocks.ts";
import { argReader, larger, smaller, type I32Value } from "../wasm-emit.ts";
import { defineBack, defineReplay, defineSteps, defineSumLines } from "./wasm-step.ts";

export const ARGS = [
  "u",
  "uBatch",
  "uTime",
  "uChannel",
  "delta",
  "deltaBatch",
  "deltaTime",
  "deltaChannel",
  "dy",
  "dyBatch",
  "dyTime",
  "dyChannel",
  "a",
  "b",
  "c",
  "initial",
  "dlast",
  // forwards
  "y",
  "last",
  // backwards; da has one part per batch entry, db and dc one per group
  "du",
  "ddelta",
  "da",
  "db",
  "dc",
  "dinitial",
  "time",
  "channels",
  "states",
  "blocks",
  "groups",
  "blocksPerGroup",
  "stretch",
  "groupBytes",
] as const;
export type Arg = (typeof ARGS)[number];
type Reader = (name: Arg) => I32Value;

/** Channels of a block: two vectors. */
export const blockChannels = (target: Target): number => 8 * target.width;

export const forwardScratch = (target: Target, states: number, stretch: number): number =>
  4 * blockChannels(target) * (2 * states + 3 * stretch);

export function backwardScratch(
  target: Target,
  s: {
    readonly states: number;
    readonly stretch: number;
    readonly time: number;
    readonly blocksPerGroup: number;
  },
): number {
  const stretches = Math.ceil(s.time / s.stretch);
  const kept = (stretches + 2) * s.blocksPerGroup * s.states;
  const lines = kept + 2 * s.states + (s.stretch + 1) * s.states + 3 * s.stretch * s.states + 5 * s.stretch;
  return 4 * blockChannels(target) * lines;
}

const add = (f: FunctionBuilder, ...terms: I32Value[]): I32Value => terms.reduce((x, y) => f.i32.add(x, y));

/** Where the block's first channel of a sequence lies at step `time`. */
const sequenceAt = (
  f: FunctionBuilder,
  arg: Reader,
  name: "u" | "delta" | "dy",
  batch: I32Value,
  channel: I32Value,
  time: I32Value,
): I32Value =>
  add(
    f,
    arg(name),
    f.i32.mul(batch, arg(`${name}Batch`)),
    f.i32.mul(channel, arg(`${name}Channel`)),
    f.i32.mul(time, arg(`${name}Time`)),
  );

/** Byte offset of element [batch, channel, 0] of an array [B, D, N]. */
const stateOffset = (f: FunctionBuilder, arg: Reader, batch: I32Value, channel: I32Value): I32Value =>
  f.i32.shl(f.i32.mul(f.i32.add(f.i32.mul(batch, arg("channels")), channel), arg("states")), 2);
/** Byte offset of element [batch, time, 0] of an array [B, T, N]. */
const vectorOffset = (f: FunctionBuilder, arg: Reader, batch: I32Value, time: I32Value): I32Value =>
  f.i32.shl(f.i32.mul(f.i32.add(f.i32.mul(batch, arg("time")), time), arg("states")), 2);
/** Byte offset of element [batch, time, channel] of an array [B, T, D]. */
const outputOffset = (
  f: FunctionBuilder,
  arg: Reader,
  batch: I32Value,
  time: I32Value,
  channel: I32Value,
): I32Value =>
  f.i32.shl(
    f.i32.add(f.i32.mul(f.i32.add(f.i32.mul(batch, arg("time")), time), arg("channels")), channel),
    2,
  );

export function buildForward(module: ModuleBuilder): void {
  const width = blockChannels(module.target);
  const line = 4 * width;
  const gather = defineGather(module, width);
  const scatter = defineScatter(module, width);
  const steps = defineSteps(module);
  module.define(
    "selectiveScan",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const [time, states, stretch] = [arg("time"), arg("states"), arg("stretch")];
      const stateBytes = f.i32.mul(states, line);
      const stretchBytes = f.i32.mul(stretch, line);
      const rowBytes = f.i32.shl(states, 2);
      const a = scratch;
      const h = f.i32.add(a, stateBytes);
      const u = f.i32.add(h, stateBytes);
      const delta = f.i32.add(u, stretchBytes);
      const y = f.i32.add(delta, stretchBytes);
      f.loop(begin, end, 1, (unit) => {
        const batch = f.i32.divU(unit, arg("blocks"));
        const channel = f.i32.mul(f.i32.sub(unit, f.i32.mul(batch, arg("blocks"))), width);
        const here = smaller(f, f.i32.sub(arg("channels"), channel), width);
        f.call(gather, f.i32.add(arg("a"), f.i32.mul(channel, rowBytes)), 4, rowBytes, states, here, a);
        const own = stateOffset(f, arg, batch, channel);
        f.if(
          arg("initial"),
          () => f.call(gather, f.i32.add(arg("initial"), own), 4, rowBytes, states, here, h),
          () => clear(f, h, stateBytes),
        );
        f.loop(0, time, stretch, (first) => {
          const count = smaller(f, f.i32.sub(time, first), stretch);
          f.call(
            gather,
            sequenceAt(f, arg, "u", batch, channel, first),
            arg("uTime"),
            arg("uChannel"),
            count,
            here,
            u,
          );
          f.call(
            gather,
            sequenceAt(f, arg, "delta", batch, channel, first),
            arg("deltaTime"),
            arg("deltaChannel"),
            count,
            here,
            delta,
          );
          const vectors = vectorOffset(f, arg, batch, first);
          f.call(
            steps,
            u,
            delta,
            f.i32.add(arg("b"), vectors),
            f.i32.add(arg("c"), vectors),
            a,
            h,
            y,
            states,
            count,
          );
          const out = f.i32.add(arg("y"), outputOffset(f, arg, batch, first, channel));
          f.call(scatter, out, f.i32.shl(arg("channels"), 2), 4, count, here, y);
        });
        f.call(scatter, f.i32.add(arg("last"), own), 4, rowBytes, states, here, h);
      });
    },
  );
}

export function buildBackward(module: ModuleBuilder): void {
  const width = blockChannels(module.target);
  const line = 4 * width;
  const gather = defineGather(module, width);
  const scatter = defineScatter(module, width);
  const replay = defineReplay(module);
  const back = defineBack(module);
  const sumLines = defineSumLines(module);
  module.define(
    "selectiveScanGrad",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const [time, states, stretch, perGroup] = [
        arg("time"),
        arg("states"),
        arg("stretch"),
        arg("blocksPerGroup"),
      ];
      const stateBytes = f.i32.mul(states, line);
      const groupBytes = f.i32.mul(perGroup, stateBytes);
      const stretchBytes = f.i32.mul(stretch, line);
      const historyBytes = f.i32.mul(stretch, stateBytes);
      const rowBytes = f.i32.shl(states, 2);
      const pitch = f.i32.shl(arg("channels"), 2);
      const stretches = f.i32.divU(f.i32.sub(f.i32.add(time, stretch), 1), stretch);
      const a = scratch;
      const spare = f.i32.add(a, stateBytes);
      const g = f.i32.add(spare, stateBytes);
      const da = f.i32.add(g, groupBytes);
      const starts = f.i32.add(da, groupBytes);
      const history = f.i32.add(starts, f.i32.mul(stretches, groupBytes));
      const decays = f.i32.add(f.i32.add(history, historyBytes), stateBytes);
      const db = f.i32.add(decays, historyBytes);
      const dc = f.i32.add(db, historyBytes);
      const u = f.i32.add(dc, historyBytes);
      const delta = f.i32.add(u, stretchBytes);
      const dy = f.i32.add(delta, stretchBytes);
      const du = f.i32.add(dy, stretchBytes);
      const ddelta = f.i32.add(du, stretchBytes);

      f.loop(begin, end, 1, (unit) => {
        const batch = f.i32.divU(unit, arg("groups"));
        const group = f.i32.sub(unit, f.i32.mul(batch, arg("groups")));
        const firstBlock = f.i32.mul(group, perGroup);
        const count = smaller(f, f.i32.sub(arg("blocks"), firstBlock), perGroup);
        /** Runs `body` for each block of the group. */
        const eachBlock = (body: (index: I32Value, channel: I32Value, here: I32Value) => void): void =>
          f.loop(0, count, 1, (index) => {
            const channel = f.i32.mul(f.i32.add(firstBlock, index), width);
            body(index, channel, smaller(f, f.i32.sub(arg("channels"), channel), width));
          });
        const loadSteps = (first: I32Value, steps: I32Value, channel: I32Value, here: I32Value): void => {
          f.call(
            gather,
            sequenceAt(f, arg, "u", batch, channel, first),
            arg("uTime"),
            arg("uChannel"),
            steps,
            here,
            u,
          );
          f.call(
            gather,
            sequenceAt(f, arg, "delta", batch, channel, first),
            arg("deltaTime"),
            arg("deltaChannel"),
            steps,
            here,
            delta,
          );
          f.call(gather, f.i32.add(arg("a"), f.i32.mul(channel, rowBytes)), 4, rowBytes, states, here, a);
        };
        const bAt = (first: I32Value): I32Value => f.i32.add(arg("b"), vectorOffset(f, arg, batch, first));

        // states at the start of each stretch
        eachBlock((index, channel, here) => {
          const own = stateOffset(f, arg, batch, channel);
          const load = (name: "initial" | "dlast", to: I32Value): void =>
            f.if(
              arg(name),
              () => f.call(gather, f.i32.add(arg(name), own), 4, rowBytes, states, here, to),
              () => clear(f, to, stateBytes),
            );
          const offset = f.i32.mul(index, stateBytes);
          load("dlast", f.i32.add(g, offset));
          load("initial", f.i32.add(starts, offset));
          clear(f, f.i32.add(da, offset), stateBytes);
          const start = f.variable("i32", f.i32.add(starts, offset));
          f.loop(0, larger(f, f.i32.sub(time, stretch), 0), stretch, (first) => {
            loadSteps(first, stretch, channel, here);
            const b = f.variable("i32", bAt(first));
            const next = f.i32.add(start, groupBytes);
            const from = f.variable("i32", start);
            f.loop(0, stretchBytes, line, (at) => {
              f.call(replay, f.i32.add(u, at), f.i32.add(delta, at), b, a, from, next, spare, states);
              f.set(from, next);
              f.advance(b, rowBytes);
            });
            f.set(start, next);
          });
        });

        const stretchNumber = f.variable("i32", stretches);
        f.doWhile(() => {
          f.advance(stretchNumber, -1);
          const first = f.i32.mul(stretchNumber, stretch);
          const steps = smaller(f, f.i32.sub(time, first), stretch);
          clear(f, db, f.i32.mul(steps, stateBytes));
          clear(f, dc, f.i32.mul(steps, stateBytes));
          eachBlock((index, channel, here) => {
            loadSteps(first, steps, channel, here);
            f.call(
              gather,
              sequenceAt(f, arg, "dy", batch, channel, first),
              arg("dyTime"),
              arg("dyChannel"),
              steps,
              here,
              dy,
            );
            const offset = f.i32.mul(index, stateBytes);
            const start = f.i32.add(f.i32.add(starts, f.i32.mul(stretchNumber, groupBytes)), offset);
            f.loop(0, stateBytes, 4 * f.lanes, (at) =>
              f.mem.vec.store(f.i32.add(history, at), 0, f.mem.vec.load(f.i32.add(start, at))),
            );
            const b = f.variable("i32", bAt(first));
            const from = f.variable("i32", history);
            const decay = f.variable("i32", decays);
            f.loop(0, f.i32.mul(steps, line), line, (at) => {
              const after = f.i32.add(from, stateBytes);
              f.call(replay, f.i32.add(u, at), f.i32.add(delta, at), b, a, from, after, decay, states);
              f.set(from, after);
              f.advance(decay, stateBytes);
              f.advance(b, rowBytes);
            });
            f.loop(0, steps, 1, (k) => {
              const t = f.i32.sub(f.i32.sub(steps, 1), k);
              const at = f.i32.mul(t, line);
              const deep = f.i32.mul(t, stateBytes);
              const vectors = vectorOffset(f, arg, batch, f.i32.add(first, t));
              f.call(
                back,
                f.i32.add(u, at),
                f.i32.add(delta, at),
                f.i32.add(dy, at),
                f.i32.add(arg("b"), vectors),
                f.i32.add(arg("c"), vectors),
                a,
                f.i32.add(history, deep),
                f.i32.add(decays, deep),
                f.i32.add(g, offset),
                f.i32.add(da, offset),
                f.i32.add(db, deep),
                f.i32.add(dc, deep),
                f.i32.add(du, at),
                f.i32.add(ddelta, at),
                states,
                stateBytes,
              );
            });
            const out = outputOffset(f, arg, batch, first, channel);
            f.call(scatter, f.i32.add(arg("du"), out), pitch, 4, steps, here, du);
            f.call(scatter, f.i32.add(arg("ddelta"), out), pitch, 4, steps, here, ddelta);
          });
          const sums = f.i32.add(f.i32.mul(group, arg("groupBytes")), vectorOffset(f, arg, batch, first));
          f.call(sumLines, db, f.i32.add(arg("db"), sums), f.i32.mul(steps, states));
          f.call(sumLines, dc, f.i32.add(arg("dc"), sums), f.i32.mul(steps, states));
          return stretchNumber;
        });

        eachBlock((index, channel, here) => {
          const own = stateOffset(f, arg, batch, channel);
          const offset = f.i32.mul(index, stateBytes);
          f.call(scatter, f.i32.add(arg("da"), own), 4, rowBytes, states, here, f.i32.add(da, offset));
          f.if(arg("dinitial"), () => {
            f.call(scatter, f.i32.add(arg("dinitial"), own), 4, rowBytes, states, here, f.i32.add(g, offset));
          });
        });
      });
    },
  );
}
