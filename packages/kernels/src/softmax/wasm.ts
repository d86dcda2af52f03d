import { exp, type ModuleBuilder } from "@everlong/wasm";
import {
  argReader,
  argWords,
  foldRow,
  loadPlace,
  rowsPerUnit,
  splatAt,
  storePlace,
  targetKey,
  walk,
} from "../wasm-emit.ts";
import type { WasmCall, WasmLowering, WasmSource, WasmTarget } from "../wasm-step.ts";

const ARGS = ["x", "dy", "out", "bytes", "rows", "rowsPerUnit"] as const;

/** `softmax(args, begin, end, scratch)`: rows of `out` from rows of `x`; a unit is a block of rows. */
function buildSoftmax(module: ModuleBuilder): void {
  module.define(
    "softmax",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const bytes = arg("bytes");
      const perUnit = arg("rowsPerUnit");
      const first = f.i32.mul(begin, perUnit);
      const past = f.i32.mul(end, perUnit);
      const last = f.select(f.i32.ltU(past, arg("rows")), past, arg("rows"));
      const x = f.variable("i32", f.i32.add(arg("x"), f.i32.mul(first, bytes)));
      const y = f.variable("i32", f.i32.add(arg("out"), f.i32.mul(first, bytes)));
      f.loop(first, last, 1, () => {
        const [top] = foldRow(f, bytes, ["max"], scratch, (p) => [loadPlace(f, x, p)]);
        const [total] = foldRow(f, bytes, ["add"], scratch, (p) => {
          const e = exp(f, f.f32x4.sub(loadPlace(f, x, p), splatAt(f, top!, p)));
          storePlace(f, y, p, e);
          return [e];
        });
        const factor = f.f32.div(1, total!);
        walk(f, bytes, 1, (p) => storePlace(f, y, p, f.f32x4.mul(loadPlace(f, y, p), splatAt(f, factor, p))));
        f.advance(x, bytes);
        f.advance(y, bytes);
      });
    },
  );
}

function buildGrad(module: ModuleBuilder): void {
  module.define(
    "softmaxGrad",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const bytes = arg("bytes");
      const perUnit = arg("rowsPerUnit");
      const first = f.i32.mul(begin, perUnit);
      const past = f.i32.mul(end, perUnit);
      const last = f.select(f.i32.ltU(past, arg("rows")), past, arg("rows"));
      const start = f.i32.mul(first, bytes);
      const y = f.variable("i32", f.i32.add(arg("x"), start));
      const dy = f.variable("i32", f.i32.add(arg("dy"), start));
      const dx = f.variable("i32", f.i32.add(arg("out"), start));
      f.loop(first, last, 1, () => {
        const [dot] = foldRow(f, bytes, ["add"], scratch, (p) => [
          f.f32x4.mul(loadPlace(f, y, p), loadPlace(f, dy, p)),
        ]);
        walk(f, bytes, 2, (p) => {
          const centred = f.f32x4.sub(loadPlace(f, dy, p), splatAt(f, dot!, p));
          storePlace(f, dx, p, f.f32x4.mul(loadPlace(f, y, p), centred));
        });
        for (const pointer of [y, dy, dx]) f.advance(pointer, bytes);
      });
    },
  );
}

function lowerRows(
  call: WasmCall<unknown>,
  target: WasmTarget,
  entry: "softmax" | "softmaxGrad",
  build: (module: ModuleBuilder) => void,
): WasmLowering | string {
  if (call.inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
  const { shape } = call.inputs[0]!;
  const width = shape.at(-1)!;
  const rows = shape.reduce((a, b) => a * b, 1) / width;
  const perUnit = rowsPerUnit(rows, width, 8192);
  const values = {
    x: { input: 0 },
    dy: entry === "softmax" ? 0 : { input: 1 },
    out: { output: 0 },
    bytes: 4 * width,
    rows,
    rowsPerUnit: perUnit,
  };
  return {
    steps: [
      {
        kernel: { key: `${entry}/${targetKey(target)}`, build },
        entry,
        args: argWords(ARGS, values),
        units: Math.ceil(rows / perUnit),
        grain: 1,
        scratchBytes: 64,
      },
    ],
  };
}

export const softmaxWasm: WasmSource<unknown> = {
  lower: (call, target) => lowerRows(call, target, "softmax", buildSoftmax),
};
export const softmaxGradWasm: WasmSource<unknown> = {
  lower: (call, target) => lowerRows(call, target, "softmaxGrad", buildGrad),
};
