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
import type { ArgWord, WasmSource } from "../wasm-step.ts";
import type { SgdParams } from "./op.ts";

const ARGS = ["p", "g", "velocity", "rate", "pOut", "velocityOut", "bytes", "momentum", "decay"] as const;
const UNIT_BYTES = 65536;

function build(module: ModuleBuilder, nesterov: boolean): void {
  module.define("sgd", { params: ["i32", "i32", "i32", "i32"], exported: true }, (f, args, begin, end) => {
    const arg = argReader(f, args, ARGS);
    const float = argFloat(f, args, ARGS);
    const rate = f.mem.f32.load(arg("rate"));
    const [momentum, decay] = [float("momentum"), float("decay")];
    f.loop(begin, end, 1, (unit) => {
      const from = f.i32.mul(unit, UNIT_BYTES);
      const here = smaller(f, f.i32.sub(arg("bytes"), from), UNIT_BYTES);
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
    const bytes = 4 * call.inputs[0]!.shape.reduce((a, b) => a * b, 1);
    const { momentum, weightDecay, nesterov } = call.params;
    const values: { readonly [K in (typeof ARGS)[number]]: ArgWord } = {
      p: { input: 0 },
      g: { input: 1 },
      velocity: { input: 2 },
      rate: { input: 3 },
      pOut: { output: 0 },
      velocityOut: { output: 1 },
      bytes,
      momentum: { f32: momentum },
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
          units: Math.ceil(bytes / UNIT_BYTES),
          grain: 1,
          scratchBytes: 0,
        },
      ],
    };
  },
};
