// Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): words 2j and
// 2j + 1 encrypt the counter (j, 0) under the key. Lanes are counters.

import type { PrimitiveParams } from "@everlong/core";
import type { WasmSource } from "@everlong/kernels/wasm";
import type { FunctionBuilder, ModuleBuilder, Vec } from "@everlong/wasm";
import { storeTail } from "../lane-formats.ts";
import { elementCount } from "../loop-plan.ts";
import { chunkOf, defineUnits } from "./units.ts";

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;
const PARITY = 0x1bd11bda;
/** Words of a unit. */
const CHUNK = 8192;

function rotate(f: FunctionBuilder, x: Vec, bits: number): Vec {
  return f.v128.or(f.i32x4.shl(x, bits), f.i32x4.shrU(x, 32 - bits));
}

function encrypt(f: FunctionBuilder, key: readonly [Vec, Vec, Vec], counter: Vec): [Vec, Vec] {
  let x = f.i32x4.add(counter, key[0]);
  let y = key[1];
  for (let round = 0; round < 20; round++) {
    x = f.i32x4.add(x, y);
    y = f.v128.xor(rotate(f, y, ROTATIONS[round % 8]!), x);
    if (round % 4 === 3) {
      const inject = (round + 1) / 4;
      x = f.i32x4.add(x, key[inject % 3]!);
      y = f.i32x4.add(f.i32x4.add(y, key[(inject + 1) % 3]!), inject);
    }
  }
  return [x, y];
}

function build(module: ModuleBuilder): void {
  defineUnits(module, "randomBits", (f, unit, word) => {
    const { start, count } = chunkOf(f, unit, word(2), f.i32.constant(CHUNK), word(3));
    const k0 = f.mem.vec.load32Splat(word(0));
    const k1 = f.mem.vec.load32Splat(word(0), 4);
    const key = [k0, k1, f.v128.xor(f.v128.xor(k0, k1), PARITY)] as const;
    const ramp: Vec = {
      parts: Array.from({ length: f.width }, (_, part) => {
        let v = f.i32x4.constant(4 * part, 1);
        for (let lane = 1; lane < 4; lane++) v = f.i32x4.replaceLane(v, lane, 4 * part + lane);
        return v.parts[0]!;
      }),
    };
    const counter = f.vecVariable(f.i32x4.add(ramp, f.i32x4.splat(f.i32.shrU(start, 1))));
    const at = f.variable("i32", f.i32.add(word(1), f.i32.shl(start, 2)));
    const left = f.variable("i32", count);
    const words = 2 * f.lanes;
    f.doWhile(() => {
      const [x, y] = encrypt(f, key, counter);
      const low = f.v128.shuffle(x, y, [0, 4, 1, 5]);
      const high = f.v128.shuffle(x, y, [2, 6, 3, 7]);
      f.if(
        f.i32.geU(left, words),
        () => {
          for (let part = 0; part < f.width; part++) {
            f.mem.vec.store(at, 32 * part, { parts: [low.parts[part]!, high.parts[part]!] });
          }
          f.advance(left, -words);
        },
        () => {
          for (let part = 0; part < f.width; part++) {
            const value = { parts: [low.parts[part]!, high.parts[part]!] };
            storeTail(f, module, "i32", f.i32.add(at, 32 * part), 4, f.i32.sub(left, 8 * part), value);
          }
          f.set(left, 0);
        },
      );
      f.setVec(counter, f.i32x4.add(counter, f.lanes));
      f.advance(at, 4 * words);
      return left;
    });
  });
}

/** `(key [2] i32) -> i32 words of any shape`. */
export const randomBits: WasmSource<PrimitiveParams["randomBits"]> = {
  lower: ({ outputs }) => {
    const count = elementCount(outputs[0]!.shape);
    const units = Math.ceil(count / CHUNK);
    return {
      steps: [
        {
          kernel: { key: "randomBits", build },
          entry: "randomBits",
          args: [{ input: 0 }, { output: 0 }, count, Math.max(1, units)],
          units,
          grain: 2,
          scratchBytes: 0,
        },
      ],
    };
  },
};
