// Running reductions and extreme elements along an axis.

import type { PrimitiveParams } from "@everlong/core";
import { blocksFor, cudaType, type CudaSource } from "@everlong/kernels/cuda";
import { elementCount } from "../space.ts";
import { linesAlong } from "./lines.ts";

const THREADS = 256;
type Stored = keyof typeof cudaType;
const isFloatType = (dtype: string): boolean => dtype === "f32" || dtype === "f16" || dtype === "bf16";

const runByThread = (type: string, value: string, fn: string, stored: string): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) cumulative(const __grid_constant__ Words<6> w) {
  const i64 i = (i64)blockIdx.x * ${THREADS} + threadIdx.x;
  const i64 n = wide(w, 3), inner = wide(w, 4);
  if (i >= wide(w, 2) * inner) return;
  const i64 start = i / inner * n * inner + i % inner;
  const i64 step = wide(w, 5) ? -inner : inner, first = wide(w, 5) ? start + (n - 1) * inner : start;
  const ${type}* x = pointer<const ${type}>(w, 0) + first;
  ${type}* y = pointer<${type}>(w, 1) + first;
  ${value} sum = get(x[0]);
  put(y[0], sum);
  for (i64 j = 1; j < n; j++) { sum = ${stored}${fn}_(sum, get(x[j * step])); put(y[j * step], sum); }
}`;

// A block walks a line in pieces of one element a thread: a scan of each warp, of the warps' totals, and of the pieces.
const runByBlock = (type: string, value: string, fn: string): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) cumulative(const __grid_constant__ Words<6> w) {
  __shared__ ${value} totals[${THREADS / 32}];
  const i64 n = wide(w, 3), inner = wide(w, 4), i = blockIdx.x;
  const i64 start = i / inner * n * inner + i % inner;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  ${value} before = 0; bool any = false;
  for (i64 piece = 0; piece < n; piece += ${THREADS}) {
    const i64 j = piece + threadIdx.x, at = start + (wide(w, 5) ? n - 1 - j : j) * inner;
    const bool inside = j < n;
    ${value} x = inside ? get(pointer<const ${type}>(w, 0)[at]) : (${value})0;
    #pragma unroll
    for (int d = 1; d < 32; d <<= 1) { ${value} y = __shfl_up_sync(~0u, x, d); if (lane >= d) x = ${fn}_(y, x); }
    __syncthreads();
    if (lane == 31) totals[warp] = x;
    __syncthreads();
    ${value} front = before; bool has = any;
    for (int k = 0; k < warp; k++) { front = has ? ${fn}_(front, totals[k]) : totals[k]; has = true; }
    if (has) x = ${fn}_(front, x);
    if (inside) put(pointer<${type}>(w, 1)[at], x);
    for (int k = 0; k < ${THREADS / 32}; k++) { before = any ? ${fn}_(before, totals[k]) : totals[k]; any = true; }
  }
}`;

/** Inclusive running reduction, from the end when `reverse`. */
export const cumulative: CudaSource<PrimitiveParams["cumulative"]> = {
  lower: ({ inputs, outputs, params }) => {
    const x = inputs[0]!;
    if (elementCount(outputs[0]!.shape) === 0) return { steps: [] };
    const { outer, n, inner } = linesAlong(x.shape, params.axis);
    const type = cudaType[x.dtype as Stored];
    const value = isFloatType(x.dtype) ? "float" : "int";
    const lines = outer * inner;
    // Bytes wrap at every addition only where they are stored: sums of ints that are cut to eight bits agree.
    const threads = lines >= 16384 || n <= 32;
    return {
      steps: [
        {
          kernel: {
            key: `cumulative ${threads} ${type} ${params.fn}`,
            entry: "cumulative",
            source: () =>
              threads ? runByThread(type, value, params.fn, "") : runByBlock(type, value, params.fn),
          },
          args: [{ input: 0 }, { output: 0 }, outer, n, inner, params.reverse ? 1 : 0],
          grid: [threads ? blocksFor(lines, THREADS) : lines, 1, 1],
          block: [THREADS, 1, 1],
        },
      ],
    };
  },
};

const argSource = (type: string, value: string, max: boolean): string => `
// Whether (x, i) comes before (y, j): the greater (smaller) value, NaN above all, then the earlier index.
__device__ __forceinline__ bool better(${value} x, int i, ${value} y, int j) {
  const bool p = x != x, q = y != y;
  if (p || q) return p && (!q || i < j);
  return x ${max ? ">" : "<"} y || (x == y && i < j);
}
extern "C" __global__ void __launch_bounds__(${THREADS}) arg_reduce(const __grid_constant__ Words<5> w) {
  const i64 line = (i64)blockIdx.x * ${THREADS / 32} + threadIdx.x / 32;
  const i64 n = wide(w, 3), inner = wide(w, 4);
  if (line >= wide(w, 2) * inner) return;
  const ${type}* x = pointer<const ${type}>(w, 0) + line / inner * n * inner + line % inner;
  const int lane = threadIdx.x & 31;
  ${value} best = get(x[lane < n ? lane * inner : 0]);
  int at = lane < n ? lane : 0;
  for (i64 j = lane + 32; j < n; j += 32) { const ${value} y = get(x[j * inner]); if (better(y, (int)j, best, at)) { best = y; at = (int)j; } }
  #pragma unroll
  for (int d = 16; d; d >>= 1) {
    const ${value} y = __shfl_xor_sync(~0u, best, d); const int j = __shfl_xor_sync(~0u, at, d);
    if (better(y, j, best, at)) { best = y; at = j; }
  }
  if (lane == 0) pointer<int>(w, 1)[line] = at;
}`;

/** Index of the first extreme element; NaN counts as the extreme. */
export const argReduce: CudaSource<PrimitiveParams["argReduce"]> = {
  lower: ({ inputs, outputs, params }) => {
    const x = inputs[0]!;
    if (elementCount(outputs[0]!.shape) === 0) return { steps: [] };
    const { outer, n, inner } = linesAlong(x.shape, params.axis);
    const type = cudaType[x.dtype as Stored];
    const value = isFloatType(x.dtype) ? "float" : "int";
    return {
      steps: [
        {
          kernel: {
            key: `argReduce ${type} ${params.fn}`,
            entry: "arg_reduce",
            source: () => argSource(type, value, params.fn === "max"),
          },
          args: [{ input: 0 }, { output: 0 }, outer, n, inner],
          grid: [blocksFor(outer * inner, THREADS / 32), 1, 1],
          block: [THREADS, 1, 1],
        },
      ],
    };
  },
};
