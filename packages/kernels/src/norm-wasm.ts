// Layer and RMS normalisation share their kernels: one centres the rows, the other does not.

import type { FunctionBuilder, ModuleBuilder, Vec } from "@everlong/wasm";
import { named } from "./inputs.ts";
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
  type Place,
} from "./wasm-emit.ts";
import type { ArgWord, WasmCall, WasmLowering, WasmStep, WasmTarget } from "./wasm-step.ts";

/** What a kernel is built for. */
export interface NormKind {
  /** Subtracts the mean. */
  readonly centred: boolean;
  readonly weight: boolean;
  readonly bias: boolean;
}

const kindKey = (kind: NormKind): string =>
  `${kind.centred ? "layer" : "rms"}${kind.weight ? "+w" : ""}${kind.bias ? "+b" : ""}`;

const ARGS = [
  "x",
  "weight",
  "bias",
  "mean",
  "rstd",
  "dy",
  // y forwards, dx backwards
  "out",
  // sums of dy h and of dy over the rows of each unit: [units][1 or 2][N]
  "partials",
  "partialBytes",
  "bytes",
  "rows",
  "rowsPerUnit",
  "eps",
  // 1 / N
  "share",
] as const;

interface Rows {
  readonly first: I32Value;
  readonly last: I32Value;
}

function unitRows(f: FunctionBuilder, args: I32Value, unit: I32Value): Rows {
  const arg = argReader(f, args, ARGS);
  const first = f.i32.mul(unit, arg("rowsPerUnit"));
  const past = f.i32.add(first, arg("rowsPerUnit"));
  return { first, last: f.select(f.i32.ltU(past, arg("rows")), past, arg("rows")) };
}

function buildForward(module: ModuleBuilder, kind: NormKind): void {
  module.define(
    "norm",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const float = argFloat(f, args, ARGS);
      const [bytes, weight, bias] = [arg("bytes"), arg("weight"), arg("bias")];
      f.loop(begin, end, 1, (unit) => {
        const { first, last } = unitRows(f, args, unit);
        const x = f.variable("i32", f.i32.add(arg("x"), f.i32.mul(first, bytes)));
        const y = f.variable("i32", f.i32.add(arg("out"), f.i32.mul(first, bytes)));
        f.loop(first, last, 1, (row) => {
          const at = f.i32.shl(row, 2);
          let mean: F32Value | undefined;
          if (kind.centred) {
            const [sum] = foldRow(f, bytes, ["add"], scratch, (p) => [loadPlace(f, x, p)]);
            mean = f.f32.mul(sum!, float("share"));
            f.mem.f32.store(f.i32.add(arg("mean"), at), 0, mean);
          }
          const centred = (p: Place): Vec => {
            const value = loadPlace(f, x, p);
            return mean ? f.f32x4.sub(value, splatAt(f, mean, p)) : value;
          };
          const [squares] = foldRow(f, bytes, ["add"], scratch, (p) => {
            const c = centred(p);
            return [f.f32x4.mul(c, c)];
          });
          const variance = f.f32.mul(squares!, float("share"));
          const rstd = f.f32.div(1, f.f32.sqrt(f.f32.add(variance, float("eps"))));
          f.mem.f32.store(f.i32.add(arg("rstd"), at), 0, rstd);
          walk(f, bytes, 2, (p) => {
            let value = f.f32x4.mul(centred(p), splatAt(f, rstd, p));
            if (kind.weight && kind.bias)
              value = f.f32x4.madd(value, loadPlace(f, weight, p), loadPlace(f, bias, p));
            else if (kind.weight) value = f.f32x4.mul(value, loadPlace(f, weight, p));
            else if (kind.bias) value = f.f32x4.add(value, loadPlace(f, bias, p));
            storePlace(f, y, p, value);
          });
          f.advance(x, bytes);
          f.advance(y, bytes);
        });
      });
    },
  );
}

function buildBackward(module: ModuleBuilder, kind: NormKind): void {
  const sums = kind.weight || kind.bias;
  module.define(
    "normGrad",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, ARGS);
      const float = argFloat(f, args, ARGS);
      const [bytes, weight] = [arg("bytes"), arg("weight")];
      f.loop(begin, end, 1, (unit) => {
        const { first, last } = unitRows(f, args, unit);
        const start = f.i32.mul(first, bytes);
        const x = f.variable("i32", f.i32.add(arg("x"), start));
        const dy = f.variable("i32", f.i32.add(arg("dy"), start));
        const dx = f.variable("i32", f.i32.add(arg("out"), start));
        const dweight = f.i32.add(arg("partials"), f.i32.mul(unit, arg("partialBytes")));
        const dbias = kind.weight ? f.i32.add(dweight, bytes) : dweight;
        if (sums) {
          walk(f, arg("partialBytes"), 1, (p) => storePlace(f, dweight, p, splatAt(f, f.f32.constant(0), p)));
        }
        f.loop(first, last, 1, (row) => {
          const at = f.i32.shl(row, 2);
          const rstd = f.mem.f32.load(f.i32.add(arg("rstd"), at));
          const mean = kind.centred ? f.mem.f32.load(f.i32.add(arg("mean"), at)) : undefined;
          const normal = (p: Place): Vec => {
            const value = loadPlace(f, x, p);
            return f.f32x4.mul(mean ? f.f32x4.sub(value, splatAt(f, mean, p)) : value, splatAt(f, rstd, p));
          };
          const weighted = (p: Place, slope: Vec): Vec =>
            kind.weight ? f.f32x4.mul(slope, loadPlace(f, weight, p)) : slope;
          const totals = foldRow(f, bytes, kind.centred ? ["add", "add"] : ["add"], scratch, (p) => {
            const g = weighted(p, loadPlace(f, dy, p));
            const product = f.f32x4.mul(g, normal(p));
            return kind.centred ? [product, g] : [product];
          });
          const [along, average] = totals.map((t) => f.f32.mul(t, float("share")));
          walk(f, bytes, 1, (p) => {
            const h = normal(p);
            const slope = loadPlace(f, dy, p);
            let d = f.f32x4.nmadd(h, splatAt(f, along!, p), weighted(p, slope));
            if (average) d = f.f32x4.sub(d, splatAt(f, average, p));
            if (kind.weight) storePlace(f, dweight, p, f.f32x4.madd(slope, h, loadPlace(f, dweight, p)));
            if (kind.bias) storePlace(f, dbias, p, f.f32x4.add(slope, loadPlace(f, dbias, p)));
            storePlace(f, dx, p, f.f32x4.mul(d, splatAt(f, rstd, p)));
          });
          for (const pointer of [x, dy, dx]) f.advance(pointer, bytes);
        });
      });
    },
  );
}

const GATHER = ["partials", "partialBytes", "parts", "dweight", "dbias", "bytes"] as const;

/** Sums the parts in their order; a unit is 64 columns of the concatenated sums. */
function buildGather(module: ModuleBuilder, kind: NormKind): void {
  module.define(
    "gatherNorm",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end) => {
      const arg = argReader(f, args, GATHER);
      const stride = arg("partialBytes");
      const bytes = arg("bytes");
      const piece = 256;
      f.loop(begin, end, 1, (unit) => {
        const from = f.i32.mul(unit, piece);
        const left = f.i32.sub(bytes, from);
        const here = f.select(f.i32.ltU(left, piece), left, f.i32.constant(piece));
        const gather = (source: I32Value, to: I32Value): void =>
          walk(f, here, 1, (p) => {
            const at = f.variable("i32", f.i32.add(source, p.at));
            const sum = f.vecVariable(0, p.whole ? f.width : 1);
            f.loop(0, arg("parts"), 1, () => {
              f.setVec(sum, f.f32x4.add(sum, p.whole ? f.mem.vec.load(at) : f.mem.vec.load32Splat(at, 0, 1)));
              f.advance(at, stride);
            });
            storePlace(f, to, p, sum);
          });
        const source = f.i32.add(arg("partials"), from);
        if (kind.weight) gather(source, f.i32.add(arg("dweight"), from));
        if (kind.bias) gather(kind.weight ? f.i32.add(source, bytes) : source, f.i32.add(arg("dbias"), from));
      });
    },
  );
}

const NONE = {
  x: 0,
  weight: 0,
  bias: 0,
  mean: 0,
  rstd: 0,
  dy: 0,
  out: 0,
  partials: 0,
  partialBytes: 0,
  eps: 0,
} as const;

type Call = WasmCall<{ readonly inputs: readonly string[]; readonly eps?: number; readonly bias?: boolean }>;

function rowsOf(call: Call): { width: number; rows: number } | string {
  if (call.inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
  const { shape } = call.inputs[0]!;
  const width = shape.at(-1)!;
  return { width, rows: shape.reduce((a, b) => a * b, 1) / width };
}

/** The forward pass; outputs (y, mean?, rstd). */
export function lowerNorm(call: Call, target: WasmTarget, centred: boolean): WasmLowering | string {
  const size = rowsOf(call);
  if (typeof size === "string") return size;
  const { width, rows } = size;
  const at = named(
    call.params.inputs,
    call.inputs.map((_, i): ArgWord => ({ input: i })),
  );
  const kind = { centred, weight: at["weight"] !== undefined, bias: at["bias"] !== undefined };
  const perUnit = rowsPerUnit(rows, width);
  const values: { readonly [K in (typeof ARGS)[number]]: ArgWord } = {
    ...NONE,
    x: at["x"]!,
    weight: at["weight"] ?? 0,
    bias: at["bias"] ?? 0,
    out: { output: 0 },
    mean: centred ? { output: 1 } : 0,
    rstd: { output: centred ? 2 : 1 },
    bytes: 4 * width,
    rows,
    rowsPerUnit: perUnit,
    eps: { f32: call.params.eps ?? 0 },
    share: { f32: 1 / width },
  };
  return {
    steps: [
      {
        kernel: {
          key: `norm/${kindKey(kind)}/${targetKey(target)}`,
          build: (module) => buildForward(module, kind),
        },
        entry: "norm",
        args: argWords(ARGS, values),
        units: Math.ceil(rows / perUnit),
        grain: 1,
        scratchBytes: 64,
      },
    ],
  };
}

/** The gradient; outputs (dx, dweight?, dbias?). */
export function lowerNormGrad(call: Call, target: WasmTarget, centred: boolean): WasmLowering | string {
  const size = rowsOf(call);
  if (typeof size === "string") return size;
  const { width, rows } = size;
  const at = named(
    call.params.inputs,
    call.inputs.map((_, i): ArgWord => ({ input: i })),
  );
  const kind = { centred, weight: at["weight"] !== undefined, bias: call.params.bias === true };
  const sums = Number(kind.weight) + Number(kind.bias);
  // enough units for threads, few enough that their sums are small beside the rows
  const perUnit = Math.max(rowsPerUnit(rows, width), Math.ceil(rows / 256));
  const units = Math.ceil(rows / perUnit);
  const partialBytes = sums * 4 * width;
  const values: { readonly [K in (typeof ARGS)[number]]: ArgWord } = {
    ...NONE,
    x: at["x"]!,
    weight: at["weight"] ?? 0,
    mean: at["mean"] ?? 0,
    rstd: at["rstd"]!,
    dy: at["dy"]!,
    out: { output: 0 },
    partials: sums > 0 ? { temp: 0 } : 0,
    partialBytes,
    bytes: 4 * width,
    rows,
    rowsPerUnit: perUnit,
    share: { f32: 1 / width },
  };
  const key = `${kindKey(kind)}/${targetKey(target)}`;
  const steps: WasmStep[] = [
    {
      kernel: { key: `normGrad/${key}`, build: (module) => buildBackward(module, kind) },
      entry: "normGrad",
      args: argWords(ARGS, values),
      units,
      grain: 1,
      scratchBytes: 64,
    },
  ];
  if (sums === 0) return { steps };
  const gather: { readonly [K in (typeof GATHER)[number]]: ArgWord } = {
    partials: { temp: 0 },
    partialBytes,
    parts: units,
    dweight: kind.weight ? { output: 1 } : 0,
    dbias: kind.bias ? { output: kind.weight ? 2 : 1 } : 0,
    bytes: 4 * width,
  };
  steps.push({
    kernel: { key: `gatherNorm/${key}`, build: (module) => buildGather(module, kind) },
    entry: "gatherNorm",
    args: argWords(GATHER, gather),
    units: Math.ceil(width / 64),
    grain: 1,
    scratchBytes: 0,
  });
  return { steps, temps: [Math.max(4, units * partialBytes)] };
}
