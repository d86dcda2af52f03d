// CUDA sources by op, for devices that run them. A separate entry: other bundles do not carry it.

import type { CudaSource } from "./cuda-step.ts";
import { fftConvCuda, fftConvFilterGradCuda } from "./fft-conv/cuda.ts";
import { linearCuda } from "./matmul/cuda.ts";

export type * from "./cuda-step.ts";
export { blocksFor } from "./cuda-step.ts";
export { cudaPrelude, cudaType } from "./cuda-prelude.ts";
export { matmulCuda } from "./matmul/cuda.ts";

/** Sources of fused ops, keyed by the op's name. */
export const cudaSources: Readonly<Record<string, CudaSource<never>>> = {
  "fft-conv": fftConvCuda,
  "fft-conv-filter-grad": fftConvFilterGradCuda,
  linear: linearCuda,
};
