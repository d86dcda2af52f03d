import type { ModuleBuilder } from "@everlong/wasm";
import {
  argFloat,
  argReader,
  argWords,
  loadPlace,
  smaller,
  splatAt,
  storePlace,
  targetKey,
  walk,
} from "../wasm-emit.ts";
import { slicesOf } from "../update-settings.ts";
import type { ArgWord, WasmSource, WasmView } from "../wasm-step.ts";
import type { SgdParams } from "./op.ts";

const ARGS = [
  "p",
  "g",
  "velocity",
  "rate",
  "pOut",
  "velocityOut",
  // of one slice; slices have whole units
  "bytes",
  "unitsPerSlice",
  // from a slice's number to the next, 0 where all share one
  "rateStride",
  "decayStride",
  "momentum",
  // addresses of the decays, or 0 and one decay
  "decays",
  "decay",
] as const;
const UNIT_BYTES = 65536;

function build(module: ModuleBuilder, nesterov: boolean): void {
  module.define("sgd", { params: ["i32", "i32", "i32", "i32"], exported: true }, (f, args, begin, end) => {
    const arg = argReader(f, args, ARGS);
    const float = argFloat(f, args, ARGS);
    const momentum = float("momentum");
    f.loop(begin, end, 1, (unit) => {
      const slice = f.i32.divU(unit, arg("unitsPerSlice"));
      const rate = f.mem.f32.load(f.i32.add(arg("rate"), f.i32.mul(slice, arg("rateStride"))));
      const decay = f.variable("f32", float("decay"));
      f.if(arg("decays"), () =>
        f.set(decay, f.mem.f32.load(f.i32.add(arg("decays"), f.i32.mul(slice, arg("decayStride"))))),
      );
      const part = f.i32.mul(f.i32.remU(unit, arg("unitsPerSlice")), UNIT_BYTES);
      const from = f.i32.add(f.i32.mul(slice, arg("bytes")), part);
      const here = smaller(f, f.i32.sub(arg("bytes"), part), UNIT_BYTES);
      const place = (name: "p" | "g" | "velocity" | "pOut" | "velocityOut"): ReturnType<typeof arg> =>
        f.i32.add(arg(name), from);
      const [p, g, velocity] = [place("p"), place("g"), place("velocity")];
      const [pOut, velocityOut] = [place("pOut"), place("velocityOut")];
      walk(f, here, 1, (at) => {
        const value = loadPlace(f, p, at);
        const slope = f.f32x4.madd(value, splatAt(f, decay, at), loadPlace(f, g, at));
        const next = f.f32x4.madd(loadPlace(f, velocity, at), splatAt(f, momentum, at), slope);
        const move = nesterov ? f.f32x4.madd(next, splatAt(f, momentum, at), slope) : next;
        storePlace(f, pOut, at, f.f32x4.nmadd(move, splatAt(f, rate, at), value));
        storePlace(f, velocityOut, at, next);
      });
    });
  });
}

export const sgdWasm: WasmSource<SgdParams> = {
  lower: (call, target) => {
    if (call.inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const [rate, decay] = call.inputs.slice(3);
    const { slices, each } = slicesOf(call.inputs[0]!, call.inputs.slice(3));
    const unitsPerSlice = Math.ceil((4 * each) / UNIT_BYTES);
    const stride = (view: WasmView | undefined): number => (view && view.shape.length > 0 ? 4 : 0);
    const { momentum, weightDecay, nesterov } = call.params;
    const values: { readonly [K in (typeof ARGS)[number]]: ArgWord } = {
      p: { input: 0 },
      g: { input: 1 },
      velocity: { input: 2 },
      rate: { input: 3 },
      pOut: { output: 0 },
      velocityOut: { output: 1 },
      bytes: 4 * each,
      unitsPerSlice: Math.max(1, unitsPerSlice),
      rateStride: stride(rate),
      decayStride: stride(decay),
      momentum: { f32: momentum },
      decays: decay ? { input: 4 } : 0,
      decay: { f32: weightDecay },
    };
    return {
      steps: [
        {
          kernel: {
            key: `sgd/${nesterov ? "nesterov" : "plain"}/${targetKey(target)}`,
            build: (module) => build(module, nesterov),
          },
          entry: "sgd",
          args: argWords(ARGS, values),
          units: slices * unitsPerSlice,
          grain: Math.max(1, Math.floor(UNIT_BYTES / Math.max(1, 4 * each))),
          scratchBytes: 0,
        },
      ],
    };
  },
};
