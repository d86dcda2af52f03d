// A step of a program as launches.

import type { StepOperand } from "@everlong/core";
import type { CudaProduct, CudaStep } from "@everlong/kernels/cuda";

export interface Lowered {
  /** For printed plans. */
  readonly name: string;
  /** What the words `input` and `output` name. */
  readonly inputs: readonly StepOperand[];
  readonly outputs: readonly StepOperand[];
  readonly steps: readonly (CudaStep | CudaProduct)[];
  readonly temps: readonly number[];
  readonly flops: number;
}
