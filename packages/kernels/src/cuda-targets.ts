// GPUs that calls are lowered for where there is none, and operands of such calls.

import { contiguousView } from "@everlong/core";
import type { CudaTarget, CudaView } from "./cuda-step.ts";

/** What an H100 offers. */
export const H100: CudaTarget = {
  arch: 90,
  processors: 132,
  sharedLimit: 232_448,
  cacheBytes: 50 * 1024 ** 2,
};

/** What an A100 offers. */
export const A100: CudaTarget = {
  arch: 80,
  processors: 108,
  sharedLimit: 166_912,
  cacheBytes: 40 * 1024 ** 2,
};

/** An operand without gaps. */
export const denseView = (dtype: CudaView["dtype"], ...shape: readonly number[]): CudaView => ({
  dtype,
  ...contiguousView(shape),
});
