// The kernel of a LoopStep: every thread loads, computes and stores a few neighbouring elements of the output's inner axis.

import { type DType, type LoopStep } from "@everlong/core";
import { blocksFor, cudaType, type CudaStep, type CudaWord } from "@everlong/kernels/cuda";
import { emitCode } from "./instruction-code.ts";
import {
  addressWord,
  bytesOf,
  elementCount,
  mergeAxes,
  needsWide,
  offsetCode,
  positionCast,
  splitPosition,
} from "./space.ts";

const THREADS = 256;
/** Loops of no more blocks than these, and of so few words, may run as one launch with others. */
const [MOST_JOINED, MOST_WORDS] = [256, 100];
type Stored = Exclude<DType, "f64">;

/** How an operand is walked by the elements of one thread: neighbours, one element, or elements apart. */
type Access = "vector" | "splat" | "apart";

/** The launch of a loop, or undefined when there is nothing to do. Words name the step's args as inputs. */
export function planLoop(step: LoopStep): CudaStep | undefined {
  const { shape, args, outputs, code } = step;
  if (elementCount(shape) === 0) return undefined;
  const iotaAxes = code.flatMap((i) => (i.op === "iota" ? [i.axis] : []));
  const space = mergeAxes(
    shape,
    [
      ...args.map((a) => a.view.strides),
      ...outputs.map((o) => o.operand.view.strides),
      ...iotaAxes.map((axis) => shape.map((_, a) => (a === axis ? 1 : 0))),
    ],
    args.length,
  );
  const rank = space.shape.length;
  const inner = rank - 1;
  const operands = [...args, ...outputs.map((o) => o.operand)];
  const type = needsWide(space) ? "i64" : "int";
  const width = vectorWidth(
    space.shape,
    space.strides,
    operands.map((o) => ({ dtype: o.dtype, offset: o.view.offset })),
  );
  const access = space.strides.map((s): Access =>
    s[inner] === 0 ? "splat" : s[inner] === 1 ? "vector" : "apart",
  );

  // Words: sizes, strides of each operand and iota, addresses, constants.
  const strideAt = (k: number): number => rank + k * rank;
  const addressAt = rank + space.strides.length * rank;
  const constantAt = addressAt + operands.length;
  const get = type === "int" ? "integer" : "wide";
  const lines: string[] = [];
  const prologue: string[] = [];
  operands.forEach((o, k) => {
    const c = cudaType[o.dtype as Stored];
    const isOutput = k >= args.length;
    prologue.push(
      `${c}* ${isOutput ? "" : "const "}p${k} = pointer<${c}>(w, ${addressAt + k}) + (${offsetCode(rank, strideAt(k), type, "x")});`,
    );
    if (isOutput) prologue.push(`Vector<${c}, ${access[k] === "vector" ? width : 1}> o${k};`);
    else if (access[k] === "vector")
      prologue.push(`const Vector<${c}, ${width}> a${k} = *(const Vector<${c}, ${width}>*)p${k};`);
    else if (access[k] === "splat") prologue.push(`const auto a${k} = get(*p${k});`);
    else prologue.push(`const ${type} s${k} = ${get}(w, ${strideAt(k) + inner});`);
  });
  const emitted = emitCode(
    code,
    (k) =>
      access[k] === "vector" ? `get(a${k}.at[j])` : access[k] === "splat" ? `a${k}` : `get(p${k}[j * s${k}])`,
    (i, t) => `${t === "float" ? "number" : "integer"}(w, ${constantAt + i})`,
    (i, t) => {
      const k = operands.length + i;
      return `${positionCast(type, t)}(${offsetCode(rank, strideAt(k), type, "x")} + j * ${get}(w, ${strideAt(k) + inner}))`;
    },
  );
  lines.push(...emitted.lines);
  const epilogue: string[] = [];
  outputs.forEach((o, i) => {
    const k = args.length + i;
    if (access[k] === "vector") {
      lines.push(`put(o${k}.at[j], v${o.value});`);
      epilogue.push(`*(Vector<${cudaType[o.operand.dtype as Stored]}, ${width}>*)p${k} = o${k};`);
    } else lines.push(`put(p${k}[j * ${get}(w, ${strideAt(k) + inner})], v${o.value});`);
  });
  const source = (): string => `
template <typename T, int N> struct __align__(sizeof(T) * N) Vector { T at[N]; };
__device__ __forceinline__ void loop_block(const Words<${constantAt + emitted.words.length}>& w, u32 block) {
  const ${type} i = ((${type})block * ${THREADS} + threadIdx.x) * ${width};
  ${splitPosition(rank, "i", 0, type, "x")}
  if (x0 >= ${get}(w, 0)) return;
  ${prologue.join("\n  ")}
  #pragma unroll
  for (int j = 0; j < ${width}; j++) {
    ${lines.join("\n    ")}
  }
  ${epilogue.join("\n  ")}
}
extern "C" __global__ void __launch_bounds__(${THREADS}) loop(const __grid_constant__ Words<${constantAt + emitted.words.length}> w) { loop_block(w, blockIdx.x); }`;
  const words: CudaWord[] = [
    ...space.shape,
    ...space.strides.flat(),
    ...args.map((a, i) => addressWord(a, { input: i })),
    ...outputs.map((o, i) => addressWord(o.operand, { output: i })),
    ...emitted.words,
  ];
  const blocks = blocksFor(elementCount(space.shape) / width, THREADS);
  const key = [
    "loop",
    rank,
    width,
    type,
    access.join(),
    operands.map((o) => o.dtype).join(),
    emitted.lines.join(""),
    outputs.map((o) => o.value).join(),
  ].join("|");
  return {
    kernel: { key, entry: "loop", source },
    args: words,
    grid: [blocks, 1, 1],
    block: [THREADS, 1, 1],
    ...(blocks <= MOST_JOINED && words.length <= MOST_WORDS ? { blockFunction: "loop_block" } : {}),
  };
}

/** The largest number of neighbouring elements that every dense operand can move in one aligned access of up to 16 bytes. */
function vectorWidth(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  operands: readonly { readonly dtype: DType; readonly offset: number }[],
): number {
  const inner = shape.length - 1;
  const dense = operands.flatMap((o, k) =>
    strides[k]![inner] === 1 ? [{ ...o, strides: strides[k]! }] : [],
  );
  if (dense.length < operands.filter((_, k) => strides[k]![inner] !== 0).length) return 1;
  const widest = Math.max(4, ...dense.map((o) => bytesOf(o.dtype)));
  let width = Math.min(8, 16 / Math.min(4, widest));
  if (dense.length > 0) width = Math.min(8, 16 / Math.max(...dense.map((o) => bytesOf(o.dtype))));
  const fits = (n: number): boolean =>
    shape[inner]! % n === 0 &&
    dense.every((o) => o.offset % n === 0 && o.strides.every((s, a) => a === inner || s % n === 0));
  while (width > 1 && !fits(width)) width /= 2;
  return width;
}
