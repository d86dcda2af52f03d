// Both directions work on blocks of 32 channels over a stretch of time. Filters are padded with zeros in front to a multiple of
// four taps, so that four weights and one accumulator fill the registers whatever the width.

import { sigmoid, type FunctionBuilder, type FunctionRef, type ModuleBuilder } from "@everlong/wasm";
import { clear, defineGather, defineScatter } from "../wasm-blocks.ts";
import { argReader, larger, smaller, type I32Value } from "../wasm-emit.ts";

export const CHANNELS = 32;
const LINE = 4 * CHANNELS;
/** Steps of time in scratch at once. */
const STRETCH = 64;

export const ARGS = [
  "x",
  "xBatch",
  "xTime",
  "xChannel",
  "w",
  "bias",
  "dy",
  "dyBatch",
  "dyTime",
  "dyChannel",
  "out",
  "outBatch",
  "outTime",
  "outChannel",
  // sums of each part: [parts][D][W] and [parts][D]
  "dw",
  "dbias",
  "length",
  "channels",
  "width",
  "blocks",
  "ranges",
  "timePerUnit",
] as const;
export type Arg = (typeof ARGS)[number];

/** Scratch bytes of a unit: x, z and dz with what precedes and follows, the result, filters both ways and their sums. */
export function scratchOf(width: number): number {
  const taps = 4 * Math.ceil(width / 4);
  return LINE * ((STRETCH + 2 * taps) * 3 + STRETCH + 3 * taps + 2);
}

/** `taps(x, w, bias, z, rows, taps)`: `z[t] = bias + sum over j of w[j] x[t + j]`. */
function defineTaps(module: ModuleBuilder): FunctionRef {
  return module.define(
    "taps",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, x, w, bias, z, rows, taps) => {
      const end = f.i32.mul(taps, LINE);
      f.if(rows, () => {
        f.loop(0, end, 4 * LINE, (first) => {
          for (let at = 0; at < LINE; at += 4 * f.lanes) {
            const weight = f.i32.add(w, first);
            const weights = [0, 1, 2, 3].map((j) => f.mem.vec.load(weight, j * LINE + at));
            const from = f.variable("i32", f.i32.add(x, first));
            const to = f.variable("i32", z);
            const run = (start: () => ReturnType<typeof f.mem.vec.load>): void => {
              f.sweep(
                to,
                f.i32.add(z, f.i32.mul(rows, LINE)),
                [
                  [to, LINE],
                  [from, LINE],
                ],
                () => {
                  let sum = start();
                  weights.forEach(
                    (weightOf, j) => (sum = f.f32x4.madd(weightOf, f.mem.vec.load(from, j * LINE + at), sum)),
                  );
                  f.mem.vec.store(to, at, sum);
                },
              );
            };
            f.if(
              f.i32.eqz(first),
              () => {
                const begin = f.mem.vec.load(bias, at);
                run(() => begin);
              },
              () => run(() => f.mem.vec.load(to, at)),
            );
          }
        });
      });
    },
  );
}

/** `filterSums(x, dz, dw, rows, taps)`: `dw[j] += sum over t of dz[t] x[t + j]`. */
function defineFilterSums(module: ModuleBuilder): FunctionRef {
  return module.define(
    "filterSums",
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, x, dz, dw, rows, taps) => {
      f.loop(0, f.i32.mul(taps, LINE), 4 * LINE, (first) => {
        const into = f.i32.add(dw, first);
        for (let at = 0; at < LINE; at += 4 * f.lanes) {
          const sums = [0, 1, 2, 3].map((j) => f.vecVariable(f.mem.vec.load(into, j * LINE + at)));
          const from = f.variable("i32", f.i32.add(x, first));
          const slope = f.variable("i32", dz);
          f.loop(0, rows, 1, () => {
            const d = f.mem.vec.load(slope, at);
            sums.forEach((sum, j) =>
              f.setVec(sum, f.f32x4.madd(d, f.mem.vec.load(from, j * LINE + at), sum)),
            );
            f.advance(from, LINE);
            f.advance(slope, LINE);
          });
          sums.forEach((sum, j) => f.mem.vec.store(into, j * LINE + at, sum));
        }
      });
    },
  );
}

/** `columnSums(x, sums, rows)`: `sums += sum over t of x[t]`. */
function defineColumnSums(module: ModuleBuilder): FunctionRef {
  return module.define("columnSums", { params: ["i32", "i32", "i32"] }, (f, x, sums, rows) => {
    for (let at = 0; at < LINE; at += 4 * f.lanes) {
      const sum = f.vecVariable(f.mem.vec.load(sums, at));
      const from = f.variable("i32", x);
      f.loop(0, rows, 1, () => {
        f.setVec(sum, f.f32x4.add(sum, f.mem.vec.load(from, at)));
        f.advance(from, LINE);
      });
      f.mem.vec.store(sums, at, sum);
    }
  });
}

/** `silu(z, rows)` in place, or with `dz`: `dz *= silu'(z)`. */
function defineSilu(module: ModuleBuilder, gradient: boolean): FunctionRef {
  return module.define(
    gradient ? "siluSlope" : "silu",
    { params: ["i32", "i32", "i32"] },
    (f, z, dz, rows) => {
      f.loop(0, f.i32.mul(rows, LINE), 4 * f.lanes, (at) => {
        const from = f.i32.add(z, at);
        const value = f.mem.vec.load(from);
        const s = sigmoid(f, value);
        if (!gradient) {
          f.mem.vec.store(from, 0, f.f32x4.mul(value, s));
          return;
        }
        const to = f.i32.add(dz, at);
        const slope = f.f32x4.mul(s, f.f32x4.madd(value, f.f32x4.sub(f.f32x4.constant(1), s), 1));
        f.mem.vec.store(to, 0, f.f32x4.mul(f.mem.vec.load(to), slope));
      });
    },
  );
}

/**
 * `filters(w, bias, channels, width, taps, ahead, back)`: rows `[taps][32]` of weights, forward at `ahead` with the bias as one more row
 * behind them, and in reverse order at `back`.
 */
function defineFilters(module: ModuleBuilder): FunctionRef {
  return module.define(
    "filters",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, w, bias, channels, width, taps, ahead, back) => {
      const bytes = f.i32.mul(taps, LINE);
      clear(f, ahead, f.i32.add(bytes, LINE));
      clear(f, back, bytes);
      const missing = f.i32.sub(taps, width);
      f.loop(0, channels, 1, (d) => {
        const column = f.i32.shl(d, 2);
        f.loop(0, width, 1, (j) => {
          const value = f.mem.f32.load(w);
          const row = f.i32.add(missing, j);
          const reversed = f.i32.sub(f.i32.sub(taps, 1), row);
          f.mem.f32.store(f.i32.add(f.i32.add(ahead, f.i32.mul(row, LINE)), column), 0, value);
          f.mem.f32.store(f.i32.add(f.i32.add(back, f.i32.mul(reversed, LINE)), column), 0, value);
          f.advance(w, 4);
        });
        f.if(bias, () =>
          f.mem.f32.store(
            f.i32.add(f.i32.add(ahead, bytes), column),
            0,
            f.mem.f32.load(f.i32.add(bias, column)),
          ),
        );
      });
    },
  );
}

interface Unit {
  readonly arg: (name: Arg) => I32Value;
  readonly batch: I32Value;
  /** Number of the part (batch and range of time), first and past step. */
  readonly part: I32Value;
  readonly from: I32Value;
  readonly to: I32Value;
  readonly channel: I32Value;
  readonly channels: I32Value;
  readonly taps: I32Value;
}

// unit = (batch * ranges + range) * blocks + block of channels
function eachUnit(
  f: FunctionBuilder,
  args: I32Value,
  begin: I32Value,
  end: I32Value,
  body: (u: Unit) => void,
): void {
  const arg = argReader(f, args, ARGS);
  const taps = f.i32.and(f.i32.add(arg("width"), 3), -4);
  f.loop(begin, end, 1, (unit) => {
    const part = f.i32.divU(unit, arg("blocks"));
    const channel = f.i32.mul(f.i32.sub(unit, f.i32.mul(part, arg("blocks"))), CHANNELS);
    const batch = f.i32.divU(part, arg("ranges"));
    const from = f.i32.mul(f.i32.sub(part, f.i32.mul(batch, arg("ranges"))), arg("timePerUnit"));
    const to = smaller(f, f.i32.add(from, arg("timePerUnit")), arg("length"));
    const channels = smaller(f, f.i32.sub(arg("channels"), channel), CHANNELS);
    body({ arg, batch, part, from, to, channel, channels, taps });
  });
}

const sequenceStart = (f: FunctionBuilder, u: Unit, name: "x" | "dy" | "out"): I32Value =>
  f.i32.add(
    f.i32.add(u.arg(name), f.i32.mul(u.batch, u.arg(`${name}Batch`))),
    f.i32.mul(u.channel, u.arg(`${name}Channel`)),
  );

/** x from `taps - 1` steps before `time` on, `rows` steps of `time` included; zeros before the start. */
function loadHistory(
  f: FunctionBuilder,
  u: Unit,
  gather: FunctionRef,
  time: I32Value,
  rows: I32Value,
  to: I32Value,
): void {
  const history = f.i32.sub(u.taps, 1);
  const lack = larger(f, f.i32.sub(history, time), 0);
  clear(f, to, f.i32.mul(lack, LINE));
  const first = f.i32.add(f.i32.sub(time, history), lack);
  const address = f.i32.add(sequenceStart(f, u, "x"), f.i32.mul(first, u.arg("xTime")));
  const count = f.i32.sub(f.i32.add(history, rows), lack);
  f.call(
    gather,
    address,
    u.arg("xTime"),
    u.arg("xChannel"),
    count,
    u.channels,
    f.i32.add(to, f.i32.mul(lack, LINE)),
  );
}

export function buildShortConv(module: ModuleBuilder, activate: boolean): void {
  const gather = defineGather(module, CHANNELS);
  const scatter = defineScatter(module, CHANNELS);
  const filters = defineFilters(module);
  const taps = defineTaps(module);
  const silu = activate ? defineSilu(module, false) : undefined;
  module.define(
    "shortConv",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      eachUnit(f, args, begin, end, (u) => {
        const filterBytes = f.i32.mul(u.taps, LINE);
        const ahead = scratch;
        const bias = f.i32.add(ahead, filterBytes);
        const back = f.i32.add(bias, LINE);
        const x = f.i32.add(back, filterBytes);
        const z = f.i32.add(x, f.i32.add(filterBytes, STRETCH * LINE));
        const w = f.i32.add(u.arg("w"), f.i32.shl(f.i32.mul(u.channel, u.arg("width")), 2));
        const biasAt = f.select<"i32">(u.arg("bias"), f.i32.muladd(u.channel, 4, u.arg("bias")), 0, "i32");
        f.call(filters, w, biasAt, u.channels, u.arg("width"), u.taps, ahead, back);
        f.loop(u.from, u.to, STRETCH, (time) => {
          const rows = smaller(f, f.i32.sub(u.to, time), STRETCH);
          loadHistory(f, u, gather, time, rows, x);
          f.call(taps, x, ahead, bias, z, rows, u.taps);
          if (silu) f.call(silu, z, 0, rows);
          const address = f.i32.add(sequenceStart(f, u, "out"), f.i32.mul(time, u.arg("outTime")));
          f.call(scatter, address, u.arg("outTime"), u.arg("outChannel"), rows, u.channels, z);
        });
      });
    },
  );
}

export function buildShortConvGrad(module: ModuleBuilder, activate: boolean): void {
  const gather = defineGather(module, CHANNELS);
  const scatter = defineScatter(module, CHANNELS);
  const filters = defineFilters(module);
  const taps = defineTaps(module);
  const filterSums = defineFilterSums(module);
  const columnSums = defineColumnSums(module);
  const slope = activate ? defineSilu(module, true) : undefined;
  module.define(
    "shortConvGrad",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      eachUnit(f, args, begin, end, (u) => {
        const filterBytes = f.i32.mul(u.taps, LINE);
        const stretchBytes = f.i32.add(f.i32.shl(filterBytes, 1), STRETCH * LINE);
        const ahead = scratch;
        const bias = f.i32.add(ahead, filterBytes);
        const back = f.i32.add(bias, LINE);
        const dw = f.i32.add(back, filterBytes);
        const dbias = f.i32.add(dw, filterBytes);
        const x = f.i32.add(dbias, LINE);
        const z = f.i32.add(x, stretchBytes);
        const dz = f.i32.add(z, stretchBytes);
        const dx = f.i32.add(dz, stretchBytes);
        const w = f.i32.add(u.arg("w"), f.i32.shl(f.i32.mul(u.channel, u.arg("width")), 2));
        const biasAt = f.select<"i32">(u.arg("bias"), f.i32.muladd(u.channel, 4, u.arg("bias")), 0, "i32");
        f.call(filters, w, biasAt, u.channels, u.arg("width"), u.taps, ahead, back);
        clear(f, dw, f.i32.add(filterBytes, LINE));
        const noBias = dx;
        f.loop(u.from, u.to, STRETCH, (time) => {
          const rows = smaller(f, f.i32.sub(u.to, time), STRETCH);
          // outputs up to taps - 1 steps later depend on these inputs
          const after = f.i32.sub(u.arg("length"), f.i32.add(time, rows));
          const ahead1 = smaller(f, f.i32.sub(u.taps, 1), after);
          const reach = f.i32.add(rows, ahead1);
          const dyAt = f.i32.add(sequenceStart(f, u, "dy"), f.i32.mul(time, u.arg("dyTime")));
          f.call(gather, dyAt, u.arg("dyTime"), u.arg("dyChannel"), reach, u.channels, dz);
          const lack = f.i32.sub(f.i32.add(rows, f.i32.sub(u.taps, 1)), reach);
          clear(f, f.i32.add(dz, f.i32.mul(reach, LINE)), f.i32.mul(lack, LINE));
          loadHistory(f, u, gather, time, reach, x);
          if (slope) {
            f.call(taps, x, ahead, bias, z, reach, u.taps);
            f.call(slope, z, dz, reach);
          }
          f.call(filterSums, x, dz, dw, rows, u.taps);
          f.call(columnSums, dz, dbias, rows);
          clear(f, noBias, LINE);
          f.call(taps, dz, back, noBias, dx, rows, u.taps);
          const address = f.i32.add(sequenceStart(f, u, "out"), f.i32.mul(time, u.arg("outTime")));
          f.call(scatter, address, u.arg("outTime"), u.arg("outChannel"), rows, u.channels, dx);
        });
        const first = f.i32.add(f.i32.mul(u.part, u.arg("channels")), u.channel);
        const dwAt = f.variable(
          "i32",
          f.i32.add(u.arg("dw"), f.i32.shl(f.i32.mul(first, u.arg("width")), 2)),
        );
        const missing = f.i32.mul(f.i32.sub(u.taps, u.arg("width")), LINE);
        f.loop(0, f.i32.shl(u.channels, 2), 4, (column) => {
          f.loop(missing, filterBytes, LINE, (row) => {
            f.mem.f32.store(dwAt, 0, f.mem.f32.load(f.i32.add(f.i32.add(dw, row), column)));
            f.advance(dwAt, 4);
          });
          f.if(u.arg("dbias"), () => {
            f.mem.f32.store(
              f.i32.add(f.i32.muladd(first, 4, u.arg("dbias")), column),
              0,
              f.mem.f32.load(f.i32.add(dbias, column)),
            );
          });
        });
      });
    },
  );
}
