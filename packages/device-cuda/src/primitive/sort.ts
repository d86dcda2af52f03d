// Stable sort along an axis: bitonic networks over 64-bit words of an order-preserving key and the index, which makes every word
// different and so the result the stable one. NaN comes last either way; -0 equals 0.

import type { PrimitiveParams } from "@everlong/core";
import { blocksFor, cudaType, type CudaSource, type CudaStep } from "@everlong/kernels/cuda";
import { elementCount } from "../space.ts";
import { linesAlong } from "./lines.ts";

const THREADS = 256;
/** Words that a block sorts in shared memory. */
const LOCAL = 2048;
/** Blocks of a grid's first axis. */
const MOST_BLOCKS = 2 ** 31 - 1;
type Stored = keyof typeof cudaType;

const keys = (type: string, float: boolean, descending: boolean): string => `
__device__ __forceinline__ u64 word_of(const ${type}* x, i64 at, int i) {
  ${
    float
      ? `float v = get(x[at]); u32 b = __float_as_uint(v + 0.f); b = b & 0x80000000u ? ~b : b | 0x80000000u;
  ${descending ? "b = ~b;" : ""} if (is_nan(v)) b = 0xffffffffu;`
      : `u32 b = (u32)get(x[at]) ^ 0x80000000u; ${descending ? "b = ~b;" : ""}`
  }
  return (u64)b << 32 | (u32)i;
}`;

const head = (type: string, float: boolean, descending: boolean): string => `
${keys(type, float, descending)}
extern "C" __global__ void __launch_bounds__(${THREADS}) sort_pieces(const __grid_constant__ Words<6> w) {
  __shared__ u64 cells[${LOCAL}];
  const i64 n = wide(w, 2), inner = wide(w, 3), padded = wide(w, 4), size = padded < ${LOCAL} ? padded : ${LOCAL};
  // Blocks along a grid's second axis go on where its first one ends.
  const i64 pieces = padded / size, job = (i64)blockIdx.y * gridDim.x + blockIdx.x, line = job / pieces, piece = job % pieces;
  if (line >= wide(w, 5)) return;
  const i64 start = line / inner * n * inner + line % inner;
  for (int i = threadIdx.x; i < size; i += ${THREADS}) {
    const i64 j = piece * size + i;
    cells[i] = j < n ? word_of(pointer<const ${type}>(w, 0), start + j * inner, (int)j) : ~0ull;
  }
  for (i64 k = 2; k <= size; k <<= 1)
    for (i64 d = k >> 1; d; d >>= 1) {
      __syncthreads();
      for (int i = threadIdx.x; i < size; i += ${THREADS}) {
        const int p = i ^ (int)d;
        const bool up = ((piece * size + i) & k) == 0;
        if (p > i && (cells[i] > cells[p]) == up) { const u64 t = cells[i]; cells[i] = cells[p]; cells[p] = t; }
      }
    }
  __syncthreads();
  for (int i = threadIdx.x; i < size; i += ${THREADS}) pointer<u64>(w, 1)[line * padded + piece * size + i] = cells[i];
}`;

const exchange = (): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) sort_exchange(const __grid_constant__ Words<5> w) {
  const i64 half = (i64)blockIdx.x * ${THREADS} + threadIdx.x, padded = wide(w, 2), k = wide(w, 3), d = wide(w, 4);
  if (half >= wide(w, 1) * padded / 2) return;
  const i64 line = half / (padded / 2), h = half % (padded / 2);
  const i64 i = (h / d) * 2 * d + h % d, p = i + d;
  u64* words = pointer<u64>(w, 0) + line * padded;
  const u64 x = words[i], y = words[p];
  if ((x > y) == ((i & k) == 0)) { words[i] = y; words[p] = x; }
}`;

const tail = (type: string): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) sort_take(const __grid_constant__ Words<8> w) {
  const i64 i = (i64)blockIdx.x * ${THREADS} + threadIdx.x, n = wide(w, 5), inner = wide(w, 6), padded = wide(w, 7);
  if (i >= wide(w, 4)) return;
  const i64 k = i % inner, j = i / inner % n, o = i / inner / n;
  const int from = (int)(u32)pointer<const u64>(w, 1)[(o * inner + k) * padded + j];
  pointer<${type}>(w, 2)[i] = pointer<const ${type}>(w, 0)[(o * n + from) * inner + k];
  pointer<int>(w, 3)[i] = from;
}`;

export const sort: CudaSource<PrimitiveParams["sort"]> = {
  lower: ({ inputs, outputs, params }) => {
    const x = inputs[0]!;
    const total = elementCount(outputs[0]!.shape);
    if (total === 0) return { steps: [] };
    const { outer, n, inner } = linesAlong(x.shape, params.axis);
    const type = cudaType[x.dtype as Stored];
    const float = x.dtype === "f32" || x.dtype === "f16" || x.dtype === "bf16";
    const padded = 2 ** Math.ceil(Math.log2(Math.max(2, n)));
    const lines = outer * inner;
    const pieces = Math.max(1, padded / LOCAL);
    const steps: CudaStep[] = [
      {
        kernel: {
          key: `sort pieces ${type} ${params.descending}`,
          entry: "sort_pieces",
          source: () => head(type, float, params.descending),
        },
        args: [{ input: 0 }, { temp: 0 }, n, inner, padded, lines],
        grid: [Math.min(MOST_BLOCKS, lines * pieces), blocksFor(lines * pieces, MOST_BLOCKS), 1],
        block: [THREADS, 1, 1],
      },
    ];
    for (let k = 2 * LOCAL; k <= padded; k *= 2) {
      for (let d = k / 2; d >= 1; d /= 2) {
        steps.push({
          kernel: { key: "sort exchange", entry: "sort_exchange", source: exchange },
          args: [{ temp: 0 }, lines, padded, k, d],
          grid: [blocksFor((lines * padded) / 2, THREADS), 1, 1],
          block: [THREADS, 1, 1],
        });
      }
    }
    steps.push({
      kernel: { key: `sort take ${type}`, entry: "sort_take", source: () => tail(type) },
      args: [{ input: 0 }, { temp: 0 }, { output: 0 }, { output: 1 }, total, n, inner, padded],
      grid: [blocksFor(total, THREADS), 1, 1],
      block: [THREADS, 1, 1],
    });
    return { steps, temps: [lines * padded * 8] };
  },
};
