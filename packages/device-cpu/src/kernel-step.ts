// What a step of a program becomes: kernel launches in the form that @everlong/kernels states.

import type { StepOperand } from "@everlong/core";
import type { WasmStep } from "@everlong/kernels/wasm";

export type { StepOperand } from "@everlong/core";
export type { ArgWord, WasmStep, WasmTable, WasmTarget, WasmView } from "@everlong/kernels/wasm";

/** A lowered step. Words name `inputs`, `outputs` and `temps` by position. */
export interface Lowered {
  /** As printed: `loop add+mul`, `sum`, `matmul`, the fused op's name. */
  readonly name: string;
  readonly inputs: readonly StepOperand[];
  readonly outputs: readonly StepOperand[];
  readonly steps: readonly WasmStep[];
  /** Bytes of temporaries that live during the step. */
  readonly temps: readonly number[];
  readonly flops: number;
}
