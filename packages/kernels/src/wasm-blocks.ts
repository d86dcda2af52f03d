// Blocks of a few channels over a stretch of time, dense and padded with zeros: how kernels see sequences whatever their layout,
// so that edges and odd sizes end here.

import type { FunctionBuilder, FunctionRef, ModuleBuilder, Vec } from "@everlong/wasm";
import type { I32Value } from "./wasm-emit.ts";

/** Zeros in `bytes`, a multiple of a vector. */
export function clear(f: FunctionBuilder, at: I32Value, bytes: I32Value | number): void {
  f.loop(0, bytes, 4 * f.lanes, (i) => f.mem.vec.store(f.i32.add(at, i), 0, 0));
}

const transpose4 = (f: FunctionBuilder, [a, b, c, d]: readonly Vec[]): Vec[] => {
  const [t0, t1] = [f.v128.shuffle(a!, b!, [0, 4, 1, 5]), f.v128.shuffle(a!, b!, [2, 6, 3, 7])];
  const [t2, t3] = [f.v128.shuffle(c!, d!, [0, 4, 1, 5]), f.v128.shuffle(c!, d!, [2, 6, 3, 7])];
  return [
    f.v128.shuffle(t0, t2, [0, 1, 4, 5]),
    f.v128.shuffle(t0, t2, [2, 3, 6, 7]),
    f.v128.shuffle(t1, t3, [0, 1, 4, 5]),
    f.v128.shuffle(t1, t3, [2, 3, 6, 7]),
  ];
};

/** Columns of a block that are moved: in fours as far as `channels` goes. */
function eachFour(
  f: FunctionBuilder,
  width: number,
  channels: I32Value,
  body: (from: number, whole: I32Value) => void,
): void {
  for (let from = 0; from < width; from += 4) {
    f.if(f.i32.gtS(channels, from), () => body(from, f.i32.geS(channels, from + 4)));
  }
}

type Move = "in" | "out";

/**
 * One direction of the move between a block `[rows][width]` and memory where step t of channel d lies at
 * `address + t timeStride + d channelStride`.
 */
function defineMove(module: ModuleBuilder, width: number, move: Move): FunctionRef {
  const name = move === "in" ? `gather${width}` : `scatter${width}`;
  return module.once(name, () =>
    module.define(
      name,
      // address, timeStride, channelStride, rows, channels, block
      { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
      (f, address, timeStride, channelStride, rows, channels, block) => {
        const line = 4 * width;
        const vector = 4 * f.lanes;
        const single = (outside: I32Value, inside: I32Value, offset: number): void => {
          if (move === "in") f.mem.f32.store(inside, offset, f.mem.f32.load(outside));
          else f.mem.f32.store(outside, 0, f.mem.f32.load(inside, offset));
        };
        const full = f.i32.eq(channels, width);
        f.if(f.i32.and(full, f.i32.eq(channelStride, 4)), () => {
          f.loop(0, rows, 1, () => {
            for (let at = 0; at < line; at += vector) {
              if (move === "in") f.mem.vec.store(block, at, f.mem.vec.load(address, at));
              else f.mem.vec.store(address, at, f.mem.vec.load(block, at));
            }
            f.advance(address, timeStride);
            f.advance(block, line);
          });
          f.return();
        });
        if (move === "in") f.if(f.i32.eqz(full), () => clear(f, block, f.i32.mul(rows, line)));
        f.if(f.i32.eq(timeStride, 4), () => {
          const bulk = f.i32.and(rows, -4);
          eachFour(f, width, channels, (from, whole) => {
            const lines = [0, 1, 2, 3].map((i) => f.i32.add(address, f.i32.mul(channelStride, from + i)));
            f.if(whole, () => {
              const at = f.variable("i32", f.i32.add(block, 4 * from));
              f.loop(0, f.i32.shl(bulk, 2), 16, (t) => {
                if (move === "in") {
                  const loaded = lines.map((l) => f.mem.vec.load(f.i32.add(l, t), 0, 1));
                  transpose4(f, loaded).forEach((v, i) => f.mem.vec.store(at, i * line, v));
                } else {
                  const loaded = [0, 1, 2, 3].map((i) => f.mem.vec.load(at, i * line, 1));
                  transpose4(f, loaded).forEach((v, i) => f.mem.vec.store(f.i32.add(lines[i]!, t), 0, v));
                }
                f.advance(at, 4 * line);
              });
            });
          });
          // what is left: rows beyond the last four of whole channels, and all rows of the other channels
          const wholeChannels = f.i32.and(channels, -4);
          f.loop(0, channels, 1, (d) => {
            const start = f.select<"i32">(f.i32.ltU(d, wholeChannels), bulk, 0, "i32");
            const outside = f.variable(
              "i32",
              f.i32.add(f.i32.add(address, f.i32.mul(channelStride, d)), f.i32.shl(start, 2)),
            );
            const inside = f.variable("i32", f.i32.add(f.i32.muladd(d, 4, block), f.i32.mul(start, line)));
            f.loop(start, rows, 1, () => {
              single(outside, inside, 0);
              f.advance(outside, 4);
              f.advance(inside, line);
            });
          });
          f.return();
        });
        f.loop(0, rows, 1, () => {
          const outside = f.variable("i32", address);
          f.loop(0, f.i32.shl(channels, 2), 4, (at) => {
            single(outside, f.i32.add(block, at), 0);
            f.advance(outside, channelStride);
          });
          f.advance(address, timeStride);
          f.advance(block, line);
        });
      },
    ),
  );
}

/**
 * `gather(address, timeStride, channelStride, rows, channels, block)`: a block `[rows][width]`; columns beyond `channels` are zeros.
 */
export const defineGather = (module: ModuleBuilder, width: number): FunctionRef =>
  defineMove(module, width, "in");
/** `scatter(address, timeStride, channelStride, rows, channels, block)`: the way back. */
export const defineScatter = (module: ModuleBuilder, width: number): FunctionRef =>
  defineMove(module, width, "out");
