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
  type F32Value,
} from "../wasm-emit.ts";
import { slicesOf } from "../update-settings.ts";
import type { ArgWord, WasmSource, WasmView } from "../wasm-step.ts";
import type { AdamWParams } from "./op.ts";

const ARGS = [
  "p",
  "g",
  "m",
  "v",
  "rate",
  "step",
  "pOut",
  "mOut",
  "vOut",
  // of one slice; slices have whole units
  "bytes",
  "unitsPerSlice",
  // from a slice's number to the next, 0 where all share one
  "rateStride",
  "stepStride",
  "decayStride",
  // each beta as a sum of two floats, and 1 - beta
  "beta1",
  "beta1Low",
  "gain1",
  "beta2",
  "beta2Low",
  "gain2",
  "eps",
  // addresses of the decays, or 0 and one decay
  "decays",
  "decay",
] as const;

const UNIT_BYTES = 65536;

function build(module: ModuleBuilder): void {
  module.define("adamw", { params: ["i32", "i32", "i32", "i32"], exported: true }, (f, args, begin, end) => {
    const arg = argReader(f, args, ARGS);
    const float = argFloat(f, args, ARGS);
    const beta2 = float("beta2");
    // 1 - beta^step by repeated squaring in float64: near 1 a float32 beta would be wrong in the fifth digit of the result
    const correction = (name: "beta1" | "beta2", step: F32Value): ReturnType<typeof f.f32.demoteF64> => {
      const power = f.variable("f64", 1);
      const [high, low] = [f.f64.promoteF32(float(name)), f.f64.promoteF32(float(`${name}Low`))];
      const square = f.variable("f64", f.f64.add(high, low));
      const left = f.variable("i32", f.i32.truncSatF32S(step));
      f.loop(0, 32, 1, () => {
        f.if(f.i32.and(left, 1), () => f.set(power, f.f64.mul(power, square)));
        f.set(square, f.f64.mul(square, square));
        f.set(left, f.i32.shrU(left, 1));
      });
      return f.f32.demoteF64(f.f64.sub(1, power));
    };
    const [gain1, gain2] = [float("gain1"), float("gain2")];
    f.loop(begin, end, 1, (unit) => {
      const slice = f.i32.divU(unit, arg("unitsPerSlice"));
      const setting = (
        name: "rate" | "step" | "decays",
        stride: "rateStride" | "stepStride" | "decayStride",
      ): F32Value => f.mem.f32.load(f.i32.add(arg(name), f.i32.mul(slice, arg(stride))));
      const rate = setting("rate", "rateStride");
      const step = setting("step", "stepStride");
      const size = f.f32.div(rate, correction("beta1", step));
      const root = f.f32.sqrt(correction("beta2", step));
      const decay = f.variable("f32", float("decay"));
      f.if(arg("decays"), () => f.set(decay, setting("decays", "decayStride")));
      const kept = f.f32.sub(1, f.f32.mul(rate, decay));
      const part = f.i32.mul(f.i32.remU(unit, arg("unitsPerSlice")), UNIT_BYTES);
      const from = f.i32.add(f.i32.mul(slice, arg("bytes")), part);
      const here = smaller(f, f.i32.sub(arg("bytes"), part), UNIT_BYTES);
      const [p, g, m, v] = (["p", "g", "m", "v"] as const).map((name) => f.i32.add(arg(name), from));
      const [pOut, mOut, vOut] = (["pOut", "mOut", "vOut"] as const).map((name) =>
        f.i32.add(arg(name), from),
      );
      walk(f, here, 1, (at) => {
        const slope = loadPlace(f, g!, at);
        const before = loadPlace(f, m!, at);
        const first = f.f32x4.madd(f.f32x4.sub(slope, before), splatAt(f, gain1, at), before);
        const fresh = f.f32x4.mul(f.f32x4.mul(slope, slope), splatAt(f, gain2, at));
        const second = f.f32x4.madd(loadPlace(f, v!, at), splatAt(f, beta2, at), fresh);
        const bottom = f.f32x4.add(
          f.f32x4.div(f.f32x4.sqrt(second), splatAt(f, root, at)),
          splatAt(f, float("eps"), at),
        );
        const move = f.f32x4.div(f.f32x4.mul(first, splatAt(f, size, at)), bottom);
        const next = f.f32x4.sub(f.f32x4.mul(loadPlace(f, p!, at), splatAt(f, kept, at)), move);
        storePlace(f, pOut!, at, next);
        storePlace(f, mOut!, at, first);
        storePlace(f, vOut!, at, second);
      });
    });
  });
}

/** One pass over memory: 4 reads and 3 writes per element, which may be in place. */
export const adamwWasm: WasmSource<AdamWParams> = {
  lower: (call, target) => {
    if (call.inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const { beta1, beta2, eps, weightDecay } = call.params;
    const [rate, step, decay] = call.inputs.slice(4);
    const { slices, each } = slicesOf(call.inputs[0]!, call.inputs.slice(4));
    const unitsPerSlice = Math.ceil((4 * each) / UNIT_BYTES);
    const stride = (view: WasmView | undefined): number => (view && view.shape.length > 0 ? 4 : 0);
    const values: { readonly [K in (typeof ARGS)[number]]: ArgWord } = {
      p: { input: 0 },
      g: { input: 1 },
      m: { input: 2 },
      v: { input: 3 },
      rate: { input: 4 },
      step: { input: 5 },
      pOut: { output: 0 },
      mOut: { output: 1 },
      vOut: { output: 2 },
      bytes: 4 * each,
      unitsPerSlice: Math.max(1, unitsPerSlice),
      rateStride: stride(rate),
      stepStride: stride(step),
      decayStride: stride(decay),
      beta1: { f32: beta1 },
      beta1Low: { f32: beta1 - Math.fround(beta1) },
      gain1: { f32: 1 - beta1 },
      beta2: { f32: beta2 },
      beta2Low: { f32: beta2 - Math.fround(beta2) },
      gain2: { f32: 1 - beta2 },
      eps: { f32: eps },
      decays: decay ? { input: 6 } : 0,
      decay: { f32: weightDecay },
    };
    return {
      steps: [
        {
          kernel: { key: `adamw/${targetKey(target)}`, build },
          entry: "adamw",
          args: argWords(ARGS, values),
          units: slices * unitsPerSlice,
          grain: Math.max(1, Math.floor(UNIT_BYTES / Math.max(1, 4 * each))),
          scratchBytes: 0,
        },
      ],
    };
  },
};
