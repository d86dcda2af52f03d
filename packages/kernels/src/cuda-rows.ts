// How kernels over rows of the last axis are launched: a warp a row, or a block of 256 threads where rows are long.

import type { CudaStep, CudaWord } from "./cuda-step.ts";
import { cudaFile } from "./cuda-file.ts";

const LONG = 1024;

/** C++ in front of a row kernel: `ROW` threads a row, the row of this thread, its place in it, and sums over the row. */
const rowText = (threads: number): string => `
#define ROW ${threads}
__device__ __forceinline__ i64 row_index() { return (i64)blockIdx.x * (256 / ROW) + threadIdx.x / ROW; }
__device__ __forceinline__ int row_lane() { return threadIdx.x % ROW; }
__device__ __forceinline__ float row_sum(float x) {
#if ROW == 32
  return warp_sum(x);
#else
  __shared__ float cells[32];
  return block_sum(x, cells);
#endif
}
__device__ __forceinline__ float row_max(float x) {
#if ROW == 32
  return warp_max(x);
#else
  __shared__ float cells[32];
  return block_max(x, cells);
#endif
}
`;

/** The launch of entry `entry` of `<folder>/kernel.cu` over `rows` rows of `n`. */
export function rowStep(
  folder: string,
  entry: string,
  rows: number,
  n: number,
  defines: readonly string[],
  args: readonly CudaWord[],
): CudaStep {
  const threads = n > LONG ? 256 : 32;
  const text = `${defines.map((d) => `#define ${d}`).join("\n")}\n${rowText(threads)}`;
  return {
    kernel: {
      key: `${folder} ${entry} ${text}`,
      entry,
      source: () => `${text}\n${cudaFile(`${folder}/kernel.cu`)}`,
    },
    args,
    grid: [Math.ceil(rows / (256 / threads)), 1, 1],
    block: [256, 1, 1],
  };
}

export const productOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
