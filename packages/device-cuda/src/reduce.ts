// The kernels of a ReduceStep. Rows: a warp or a block walks the reduced elements of one result. Columns: neighbouring threads hold
// neighbouring results. Few results over many elements are split into segments whose partial results a second launch combines. The
// order of additions depends on shapes only.

import {
  contiguousStrides,
  isFloat,
  type DType,
  type Instruction,
  type ReduceFn,
  type ReduceStep,
} from "@everlong/core";
import { blocksFor, cudaType, type CudaStep, type CudaWord } from "@everlong/kernels/cuda";
import { emitCode, registerType } from "./instruction-code.ts";
import { planLoop } from "./loop.ts";
import {
  addressWord,
  elementCount,
  mergeAxes,
  needsWide,
  offsetCode,
  positionCast,
  splitPosition,
  type Space,
} from "./space.ts";

const THREADS = 256;
const COLUMNS = 32;
const COLUMN_ROWS = 8;
/** Blocks that keep a large device busy. */
const ENOUGH_BLOCKS = 528;
/** Elements a thread should at least see before work is split. */
const MIN_PER_THREAD = 16;

export interface ReducePlan {
  readonly steps: readonly CudaStep[];
  readonly temps: readonly number[];
}

const identity = (fn: ReduceFn, type: "float" | "int"): string => {
  if (fn === "sum") return type === "float" ? "0.f" : "0";
  if (fn === "prod") return type === "float" ? "1.f" : "1";
  const low = type === "float" ? "__int_as_float(0xff800000)" : "(-2147483647 - 1)";
  const high = type === "float" ? "__int_as_float(0x7f800000)" : "2147483647";
  return fn === "max" ? low : high;
};

/** The launches of a reduction; words name the step's args as inputs and its output as output 0. */
export function planReduce(step: ReduceStep, split = true): ReducePlan {
  const { shape, axes, args, code, output, fn } = step;
  if (elementCount(output.view.shape) === 0) return { steps: [], temps: [] };
  if (elementCount(shape) === 0) return { steps: fillEmpty(step), temps: [] };
  const keptAxes = shape.map((_, a) => a).filter((a) => !axes.includes(a));
  const iotaAxes = code.flatMap((i) => (i.op === "iota" ? [i.axis] : []));
  const walked = [
    ...args.map((a) => a.view.strides),
    ...iotaAxes.map((axis) => shape.map((_, a) => (a === axis ? 1 : 0))),
  ];
  const pick = (list: readonly number[]): number[][] => walked.map((s) => list.map((a) => s[a]!));
  const leader = largest(step);
  const reduced = mergeAxes(
    axes.map((a) => shape[a]!),
    pick(axes),
    leader,
  );
  const keptShape = keptAxes.map((a) => shape[a]!);
  const kept = mergeAxes(
    keptShape,
    [...pick(keptAxes), output.view.strides],
    leader < 0 ? walked.length : leader,
  );
  const results = elementCount(kept.shape);
  const count = elementCount(reduced.shape);
  const dense = reduced.strides.some((s, k) => k < args.length && Math.abs(s[s.length - 1]!) === 1);
  const byRows = results < COLUMNS || dense || leader < 0;
  const threads = byRows ? (count <= 512 ? 32 : THREADS) : COLUMN_ROWS;
  const blocks = byRows ? blocksFor(results, THREADS / threads) : blocksFor(results, COLUMNS);
  const most = Math.floor(count / (threads * MIN_PER_THREAD));
  const segments =
    split && blocks < ENOUGH_BLOCKS / 2 ? Math.max(1, Math.min(most, Math.ceil(ENOUGH_BLOCKS / blocks))) : 1;
  const value = code[code.length - 1]!.dtype;
  const partial: DType = isFloat(value) ? "f32" : "i32";
  const first = launch(step, { kept, reduced, byRows, threads, blocks, segments, partial });
  if (segments === 1) return { steps: [first], temps: [] };
  const again = combine(fn, partial, segments, kept, step);
  return { steps: [first, ...again], temps: [segments * results * 4] };
}

/** The argument with the most elements, or -1 when all are scalars. */
function largest(step: ReduceStep): number {
  const sizes = step.args.map((a) =>
    step.shape.reduce((n, size, i) => (a.view.strides[i] === 0 ? n : n * size), 1),
  );
  const best = sizes.indexOf(Math.max(...sizes));
  return best < 0 || sizes[best]! <= 1 ? -1 : best;
}

interface Parts {
  readonly kept: Space;
  readonly reduced: Space;
  readonly byRows: boolean;
  readonly threads: number;
  readonly blocks: number;
  readonly segments: number;
  readonly partial: DType;
}

function launch(step: ReduceStep, parts: Parts): CudaStep {
  const { args, code, fn, output } = step;
  const { kept, reduced, byRows, threads, segments } = parts;
  const [rk, rr] = [kept.shape.length, reduced.shape.length];
  const results = elementCount(kept.shape);
  const count = elementCount(reduced.shape);
  const stored = segments > 1 ? parts.partial : output.dtype;
  const out = cudaType[stored as keyof typeof cudaType];
  const last = code.length - 1;
  const value = registerType(code[last]!.dtype);
  const type = needsWide(kept) || needsWide(reduced) || results * segments >= 2 ** 31 ? "i64" : "int";
  const get = type === "int" ? "integer" : "wide";
  // Words: results, count, segment length, kept sizes, reduced sizes, strides of every operand (kept then reduced), the output's
  // kept strides, addresses, constants.
  const keptAt = 3;
  const reducedAt = keptAt + rk;
  const strideAt = (k: number): number => reducedAt + rr + k * (rk + rr);
  const walked = reduced.strides.length;
  const outAt = strideAt(walked);
  const addressAt = outAt + rk;
  const constantAt = addressAt + args.length + 1;
  const position = (k: number): string =>
    `${offsetCode(rk, strideAt(k), type, "k")} + ${offsetCode(rr, strideAt(k) + rk, type, "r")}`;
  const emitted = emitCode(
    code,
    (k) => `get(p${k}[${offsetCode(rr, strideAt(k) + rk, type, "r")}])`,
    (i, t) => `${t === "float" ? "number" : "integer"}(w, ${constantAt + i})`,
    (i, t) => `${positionCast(type, t)}(${position(args.length + i)})`,
  );
  const bases = args.map((a, k) => {
    const c = cudaType[a.dtype as keyof typeof cudaType];
    return `const ${c}* p${k} = pointer<${c}>(w, ${addressAt + k}) + (${offsetCode(rk, strideAt(k), type, "k")});`;
  });
  const target =
    segments > 1
      ? `pointer<${out}>(w, ${addressAt + args.length})[(${type})blockIdx.y * ${get}(w, 0) + row]`
      : `pointer<${out}>(w, ${addressAt + args.length})[${offsetCode(rk, outAt, type, "k")}]`;
  const walk = (lane: string): string => `
  ${splitPosition(rk, "row", keptAt, type, "k")}
  ${bases.join("\n  ")}
  ${value} sum = ${identity(fn, value)};
  const ${type} from = (${type})blockIdx.y * ${get}(w, 2);
  const ${type} count = ${get}(w, 1);
  const ${type} to = from + ${get}(w, 2) < count ? from + ${get}(w, 2) : count;
  #pragma unroll 4
  for (${type} at = from + ${lane}; at < to; at += ${threads}) {
    ${splitPosition(rr, "at", reducedAt, type, "r")}
    ${emitted.lines.join("\n    ")}
    sum = ${fn}_(sum, v${last});
  }`;
  const rows = (): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) reduce(const __grid_constant__ Words<${constantAt + emitted.words.length}> w) {
  const ${type} row = (${type})blockIdx.x * ${THREADS / threads} + threadIdx.x / ${threads};
  if (row >= ${get}(w, 0)) return;
  ${walk(`threadIdx.x % ${threads}`)}
  #pragma unroll
  for (int d = 16; d; d >>= 1) sum = ${fn}_(sum, __shfl_xor_sync(~0u, sum, d));
  ${
    threads > 32
      ? `__shared__ ${value} cells[${threads / 32}];
  if (threadIdx.x % 32 == 0) cells[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x) return;
  for (int i = 1; i < ${threads / 32}; i++) sum = ${fn}_(sum, cells[i]);`
      : "if (threadIdx.x % 32) return;"
  }
  put(${target}, sum);
}`;
  const columns = (): string => `
extern "C" __global__ void __launch_bounds__(${COLUMNS * COLUMN_ROWS}) reduce(const __grid_constant__ Words<${constantAt + emitted.words.length}> w) {
  __shared__ ${value} cells[${COLUMN_ROWS}][${COLUMNS}];
  ${type} row = (${type})blockIdx.x * ${COLUMNS} + threadIdx.x;
  const bool inside = row < ${get}(w, 0);
  if (!inside) row = 0;
  ${walk("threadIdx.y")}
  cells[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y || !inside) return;
  for (int i = 1; i < ${COLUMN_ROWS}; i++) sum = ${fn}_(sum, cells[i][threadIdx.x]);
  put(${target}, sum);
}`;
  const length = Math.ceil(count / segments);
  const words: CudaWord[] = [
    results,
    count,
    length,
    ...kept.shape,
    ...reduced.shape,
    ...reduced.strides.flatMap((s, k) => [...kept.strides[k]!, ...s]),
    ...kept.strides[walked]!,
    ...args.map((a, i) => addressWord(a, { input: i })),
    segments > 1 ? { temp: 0 } : addressWord(output, { output: 0 }),
    ...emitted.words,
  ];
  const key = [
    "reduce",
    byRows ? "rows" : "columns",
    threads,
    rk,
    rr,
    type,
    fn,
    stored,
    segments > 1,
    args.map((a) => a.dtype).join(),
    emitted.lines.join(""),
  ].join("|");
  return {
    kernel: { key, entry: "reduce", source: byRows ? rows : columns },
    args: words,
    grid: [parts.blocks, segments, 1],
    block: byRows ? [THREADS, 1, 1] : [COLUMNS, COLUMN_ROWS, 1],
  };
}

/** The launch that reduces temp 0, `[segments, kept...]`, to the output. */
function combine(fn: ReduceFn, partial: DType, segments: number, kept: Space, step: ReduceStep): CudaStep[] {
  const shape = [segments, ...kept.shape];
  const code: Instruction[] = [{ op: "load", dtype: partial, arg: 0 }];
  const plan = planReduce(
    {
      kind: "reduce",
      shape,
      axes: [0],
      fn,
      args: [{ buffer: -1, dtype: partial, view: { shape, strides: contiguousStrides(shape), offset: 0 } }],
      code,
      output: {
        ...step.output,
        view: {
          shape: kept.shape,
          strides: kept.strides[kept.strides.length - 1]!,
          offset: step.output.view.offset,
        },
      },
    },
    false,
  );
  const rename = (word: CudaWord): CudaWord =>
    typeof word !== "number" && "input" in word ? { temp: 0, byteOffset: word.byteOffset ?? 0 } : word;
  return plan.steps.map((s) => ({ ...s, args: s.args.map(rename) }));
}

/** Fills the results of a reduction over nothing. */
function fillEmpty(step: ReduceStep): CudaStep[] {
  const { fn, output } = step;
  const value = fn === "sum" ? 0 : fn === "prod" ? 1 : fn === "max" ? -Infinity : Infinity;
  const launched = planLoop({
    kind: "loop",
    shape: output.view.shape,
    args: [],
    code: [{ op: "const", dtype: output.dtype, value }],
    outputs: [{ operand: output, value: 0 }],
  });
  return launched ? [launched] : [];
}
