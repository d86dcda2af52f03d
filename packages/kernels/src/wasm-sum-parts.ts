// Sums of partial results that units left side by side: in the order of the parts, whatever thread wrote them.

import type { ModuleBuilder } from "@everlong/wasm";
import { argReader, argWords, smaller, storePlace, targetKey, walk } from "./wasm-emit.ts";
import type { ArgWord, WasmStep, WasmTarget } from "./wasm-step.ts";

const ARGS = ["from", "stride", "parts", "to", "bytes"] as const;
const PIECE = 16384;

function build(module: ModuleBuilder): void {
  module.define(
    "sumParts",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end) => {
      const arg = argReader(f, args, ARGS);
      const [stride, parts] = [arg("stride"), arg("parts")];
      f.loop(begin, end, 1, (unit) => {
        const start = f.i32.mul(unit, PIECE);
        const here = smaller(f, f.i32.sub(arg("bytes"), start), PIECE);
        const source = f.i32.add(arg("from"), start);
        const to = f.i32.add(arg("to"), start);
        walk(f, here, 1, (p) => {
          const at = f.variable("i32", f.i32.add(source, p.at));
          const sum = f.vecVariable(0, p.whole ? f.width : 1);
          f.loop(0, parts, 1, () => {
            f.setVec(sum, f.f32x4.add(sum, p.whole ? f.mem.vec.load(at) : f.mem.vec.load32Splat(at, 0, 1)));
            f.advance(at, stride);
          });
          storePlace(f, to, p, sum);
        });
      });
    },
  );
}

/** A step that sums `parts` arrays of `bytes`, `stride` bytes apart. */
export const sumPartsStep = (
  target: WasmTarget,
  words: {
    readonly from: ArgWord;
    readonly to: ArgWord;
    readonly stride: number;
    readonly parts: number;
    readonly bytes: number;
  },
): WasmStep => ({
  kernel: { key: `sumParts/${targetKey(target)}`, build },
  entry: "sumParts",
  args: argWords(ARGS, words),
  units: Math.ceil(words.bytes / PIECE),
  grain: 1,
  scratchBytes: 0,
});
