import { exp, type FunctionBuilder, type ModuleBuilder } from "@everlong/wasm";
import {
  argFloat,
  argReader,
  argWords,
  foldRow,
  loadPlace,
  rowsPerUnit,
  splatAt,
  storePlace,
  targetKey,
  walk,
  type F32Value,
  type I32Value,
} from "../wasm-emit.ts";
import type { ArgWord, WasmCall, WasmLowering, WasmSource, WasmTarget } from "../wasm-step.ts";
import type { CrossEntropyParams } from "./op.ts";
import { defineLogarithm } from "../wasm-scalar.ts";

const ARGS = [
  "logits",
  "targets",
  // the log-sum-exp: an output forwards, an input backwards
  "lse",
  "losses",
  "dloss",
  "dx",
  "bytes",
  "classes",
  "rows",
  "rowsPerUnit",
  "ignore",
  // 1 - smoothing, and smoothing / classes
  "sharp",
  "spread",
] as const;
type Arg = (typeof ARGS)[number];

interface Row {
  readonly logits: I32Value;
  readonly row: I32Value;
  readonly target: I32Value;
  readonly ignored: I32Value;
  readonly foreign: I32Value;
}

/** Walks the rows of units `begin .. end - 1`. */
function eachRow(
  f: FunctionBuilder,
  args: I32Value,
  begin: I32Value,
  end: I32Value,
  body: (r: Row) => void,
): void {
  const arg = argReader(f, args, ARGS);
  const bytes = arg("bytes");
  const perUnit = arg("rowsPerUnit");
  const first = f.i32.mul(begin, perUnit);
  const past = f.i32.mul(end, perUnit);
  const last = f.select(f.i32.ltU(past, arg("rows")), past, arg("rows"));
  const logits = f.variable("i32", f.i32.add(arg("logits"), f.i32.mul(first, bytes)));
  f.loop(first, last, 1, (row) => {
    const target = f.mem.i32.load(f.i32.muladd(row, 4, arg("targets")));
    const ignored = f.i32.eq(target, arg("ignore"));
    body({ logits, row, target, ignored, foreign: f.i32.geU(target, arg("classes")) });
    f.advance(logits, bytes);
  });
}

function buildLoss(module: ModuleBuilder): void {
  const logarithm = defineLogarithm(module);
  module.define(
    "crossEntropy",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const float = argFloat(f, args, ARGS);
      const bytes = arg("bytes");
      eachRow(f, args, begin, end, ({ logits, row, target, ignored, foreign }) => {
        const [top, sum] = foldRow(f, bytes, ["max", "add"], scratch, (p) => {
          const x = loadPlace(f, logits, p);
          return [x, x];
        });
        const [total] = foldRow(f, bytes, ["add"], scratch, (p) => [
          exp(f, f.f32x4.sub(loadPlace(f, logits, p), splatAt(f, top!, p))),
        ]);
        const lse = f.f32.add(top!, f.call(logarithm, total!) as F32Value);
        const at = f.i32.shl(row, 2);
        f.mem.f32.store(f.i32.add(arg("lse"), at), 0, lse);
        const loss = f.variable("f32", NaN);
        f.if(
          ignored,
          () => f.set(loss, 0),
          () =>
            f.if(f.i32.eqz(foreign), () => {
              const picked = f.mem.f32.load(f.i32.muladd(target, 4, logits));
              const hard = f.f32.sub(lse, f.f32.mul(float("sharp"), picked));
              // without smoothing the mean has no weight: infinite logits of other classes stay harmless
              const smooth = f.f32.gt(float("spread"), 0);
              f.set(loss, f.select(smooth, f.f32.sub(hard, f.f32.mul(float("spread"), sum!)), hard));
            }),
        );
        f.mem.f32.store(f.i32.add(arg("losses"), at), 0, loss);
      });
    },
  );
}

function buildGrad(module: ModuleBuilder): void {
  module.define(
    "crossEntropyGrad",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end) => {
      const arg = argReader(f, args, ARGS);
      const float = argFloat(f, args, ARGS);
      const bytes = arg("bytes");
      eachRow(f, args, begin, end, ({ logits, row, target, ignored, foreign }) => {
        const at = f.i32.shl(row, 2);
        const dx = f.i32.add(arg("dx"), f.i32.mul(row, bytes));
        f.if(
          ignored,
          () => walk(f, bytes, 1, (p) => storePlace(f, dx, p, splatAt(f, f.f32.constant(0), p))),
          () => {
            const lse = f.mem.f32.load(f.i32.add(arg("lse"), at));
            const weight = f.select<"f32">(foreign, NaN, f.mem.f32.load(f.i32.add(arg("dloss"), at)), "f32");
            walk(f, bytes, 1, (p) => {
              const share = exp(f, f.f32x4.sub(loadPlace(f, logits, p), splatAt(f, lse, p)));
              const slope = f.f32x4.sub(share, splatAt(f, float("spread"), p));
              storePlace(f, dx, p, f.f32x4.mul(slope, splatAt(f, weight, p)));
            });
            f.if(f.i32.eqz(foreign), () => {
              const hot = f.i32.muladd(target, 4, dx);
              f.mem.f32.store(hot, 0, f.f32.sub(f.mem.f32.load(hot), f.f32.mul(weight, float("sharp"))));
            });
          },
        );
      });
    },
  );
}

function lower(
  call: WasmCall<CrossEntropyParams>,
  target: WasmTarget,
  entry: "crossEntropy" | "crossEntropyGrad",
  build: (module: ModuleBuilder) => void,
  own: Pick<{ readonly [K in Arg]: ArgWord }, "lse" | "losses" | "dloss" | "dx">,
): WasmLowering | string {
  if (call.inputs.some((v, i) => v.dtype !== (i === 1 ? "i32" : "f32")))
    return "computes in f32 with i32 targets only";
  const { shape } = call.inputs[0]!;
  const classes = shape.at(-1)!;
  const rows = shape.reduce((a, b) => a * b, 1) / classes;
  const perUnit = rowsPerUnit(rows, classes, 8192);
  const { ignoreIndex, labelSmoothing } = call.params;
  const values: { readonly [K in Arg]: ArgWord } = {
    logits: { input: 0 },
    targets: { input: 1 },
    ...own,
    bytes: 4 * classes,
    classes,
    rows,
    rowsPerUnit: perUnit,
    ignore: ignoreIndex,
    sharp: { f32: 1 - labelSmoothing },
    spread: { f32: labelSmoothing / classes },
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

export const crossEntropyWasm: WasmSource<CrossEntropyParams> = {
  lower: (call, target) =>
    lower(call, target, "crossEntropy", buildLoss, {
      lse: { output: 1 },
      losses: { output: 0 },
      dloss: 0,
      dx: 0,
    }),
};
export const crossEntropyGradWasm: WasmSource<CrossEntropyParams> = {
  lower: (call, target) =>
    lower(call, target, "crossEntropyGrad", buildGrad, {
      lse: { input: 2 },
      losses: 0,
      dloss: { input: 3 },
      dx: { output: 0 },
    }),
};
