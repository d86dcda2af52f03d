import type { FunctionBuilder, ModuleBuilder, Vec } from "@everlong/wasm";
import {
  argFloat,
  argReader,
  argWords,
  byteStride,
  denseRows,
  inputWord,
  rowsPerUnit,
  smaller,
  targetKey,
} from "../wasm-emit.ts";
import type { ArgWord, WasmSource } from "../wasm-step.ts";
import type { RotaryParams } from "./op.ts";

const ARGS = [
  "x",
  "xBatch",
  "xTime",
  "xHead",
  "cos",
  "sin",
  "tableBatch",
  "y",
  "tokens",
  "time",
  "heads",
  "half",
  "size",
  "tokensPerUnit",
  "sign",
] as const;

const turn = (f: FunctionBuilder, a: Vec, b: Vec, c: Vec, s: Vec): [Vec, Vec] => [
  f.f32x4.nmadd(b, s, f.f32x4.mul(a, c)),
  f.f32x4.madd(a, s, f.f32x4.mul(b, c)),
];

/** A unit is a block of tokens; four pairs at a time, whatever the width: the work is moving memory. */
function build(module: ModuleBuilder, interleaved: boolean): void {
  module.define("rotary", { params: ["i32", "i32", "i32", "i32"], exported: true }, (f, args, begin, end) => {
    const arg = argReader(f, args, ARGS);
    const sign = argFloat(f, args, ARGS)("sign");
    const [time, heads, half, size] = [arg("time"), arg("heads"), arg("half"), arg("size")];
    const halfBytes = f.i32.shl(half, 2);
    const bulk = f.i32.and(halfBytes, -16);
    const sizeBytes = f.i32.shl(size, 2);
    const first = f.i32.mul(begin, arg("tokensPerUnit"));
    const last = smaller(f, f.i32.mul(end, arg("tokensPerUnit")), arg("tokens"));
    const y = f.variable("i32", f.i32.add(arg("y"), f.i32.mul(f.i32.mul(first, heads), sizeBytes)));
    f.loop(first, last, 1, (token) => {
      const batch = f.i32.divU(token, time);
      const t = f.i32.sub(token, f.i32.mul(batch, time));
      const row = f.i32.add(f.i32.mul(batch, arg("tableBatch")), f.i32.mul(t, halfBytes));
      const [cos, sin] = [f.i32.add(arg("cos"), row), f.i32.add(arg("sin"), row)];
      const x = f.variable(
        "i32",
        f.i32.add(f.i32.add(arg("x"), f.i32.mul(batch, arg("xBatch"))), f.i32.mul(t, arg("xTime"))),
      );
      f.loop(0, heads, 1, () => {
        f.loop(0, bulk, 16, (at) => {
          const c = f.mem.vec.load(f.i32.add(cos, at), 0, 1);
          const s = f.f32x4.mul(f.mem.vec.load(f.i32.add(sin, at), 0, 1), f.f32x4.splat(sign, 1));
          if (interleaved) {
            const [from, to] = [f.i32.add(x, f.i32.shl(at, 1)), f.i32.add(y, f.i32.shl(at, 1))];
            const [low, high] = [f.mem.vec.load(from, 0, 1), f.mem.vec.load(from, 16, 1)];
            const [p, q] = turn(
              f,
              f.v128.shuffle(low, high, [0, 2, 4, 6]),
              f.v128.shuffle(low, high, [1, 3, 5, 7]),
              c,
              s,
            );
            f.mem.vec.store(to, 0, f.v128.shuffle(p, q, [0, 4, 1, 5]));
            f.mem.vec.store(to, 16, f.v128.shuffle(p, q, [2, 6, 3, 7]));
          } else {
            const from = f.i32.add(x, at);
            const to = f.i32.add(y, at);
            const [p, q] = turn(
              f,
              f.mem.vec.load(from, 0, 1),
              f.mem.vec.load(f.i32.add(from, halfBytes), 0, 1),
              c,
              s,
            );
            f.mem.vec.store(to, 0, p);
            f.mem.vec.store(f.i32.add(to, halfBytes), 0, q);
          }
        });
        f.loop(bulk, halfBytes, 4, (at) => {
          const c = f.mem.f32.load(f.i32.add(cos, at));
          const s = f.f32.mul(f.mem.f32.load(f.i32.add(sin, at)), sign);
          const place = interleaved ? f.i32.shl(at, 1) : at;
          const [from, to] = [f.i32.add(x, place), f.i32.add(y, place)];
          const apart = interleaved ? 4 : halfBytes;
          const [a, b] = [f.mem.f32.load(from), f.mem.f32.load(f.i32.add(from, apart))];
          f.mem.f32.store(to, 0, f.f32.sub(f.f32.mul(a, c), f.f32.mul(b, s)));
          f.mem.f32.store(f.i32.add(to, apart), 0, f.f32.add(f.f32.mul(b, c), f.f32.mul(a, s)));
        });
        f.loop(f.i32.shl(halfBytes, 1), sizeBytes, 4, (at) =>
          f.mem.f32.store(f.i32.add(y, at), 0, f.mem.f32.load(f.i32.add(x, at))),
        );
        f.advance(x, arg("xHead"));
        f.advance(y, sizeBytes);
      });
    });
  });
}

export const rotaryWasm: WasmSource<RotaryParams> = {
  accepts: (input, view) => input === 0 && view.dtype === "f32" && denseRows(view),
  lower: ({ inputs, params }, target) => {
    if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const [x, cos, sin] = inputs;
    const [batch, time, heads, size] = x!.shape as [number, number, number, number];
    const half = cos!.shape.at(-1)!;
    const tokens = batch * time;
    const tokensPerUnit = rowsPerUnit(tokens, heads * size);
    const values: { readonly [K in (typeof ARGS)[number]]: ArgWord } = {
      x: inputWord(0, x!),
      xBatch: byteStride(x!, 0),
      xTime: byteStride(x!, 1),
      xHead: byteStride(x!, 2),
      cos: inputWord(1, cos!),
      sin: inputWord(2, sin!),
      tableBatch: cos!.shape.length === 3 ? 4 * time * half : 0,
      y: { output: 0 },
      tokens,
      time,
      heads,
      half,
      size,
      tokensPerUnit,
      sign: { f32: params.inverse ? -1 : 1 },
    };
    const { interleaved } = params;
    return {
      steps: [
        {
          kernel: {
            key: `rotary/${interleaved ? "neighbours" : "halves"}/${targetKey(target)}`,
            build: (module) => build(module, interleaved),
          },
          entry: "rotary",
          args: argWords(ARGS, values),
          units: Math.ceil(tokens / tokensPerUnit),
          grain: 1,
          scratchBytes: 0,
        },
      ],
    };
  },
};
