// The unit of work of this device: one exported function over a range of units, with an argument block. Fused ops bring theirs from
// @everlong/kernels in the same form.

import type { DType, StepOperand } from "@everlong/core";
import type { ModuleBuilder } from "@everlong/wasm";

/** A buffer as a kernel sees it; strides and offset in elements. */
export interface WasmView {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}
export type ArgWord =
  | number
  | { readonly f32: number }
  | { readonly input: number; readonly byteOffset?: number }
  | { readonly output: number; readonly byteOffset?: number }
  | { readonly temp: number; readonly byteOffset?: number }
  | { readonly table: number };
export interface WasmTable {
  readonly key: string;
  readonly bytes: number;
  readonly fill: (memory: DataView, byteOffset: number) => void;
}
export interface WasmStep {
  readonly kernel: { readonly key: string; readonly build: (module: ModuleBuilder) => void };
  readonly entry: string;
  readonly args: readonly ArgWord[];
  readonly units: number;
  readonly grain: number;
  readonly scratchBytes: number;
  readonly tables?: readonly WasmTable[];
}
export interface WasmTarget {
  readonly width: 1 | 2;
  readonly relaxed: boolean;
}
export interface WasmLowering {
  readonly steps: readonly WasmStep[];
  readonly temps?: readonly number[];
}

export type { StepOperand };

/** What one step of a program becomes. Words name `inputs`, `outputs` and `temps` by position. */
export interface Lowered {
  /** As printed: `loop`, `sum`, `matmul`, the fused op's name. */
  readonly name: string;
  readonly inputs: readonly StepOperand[];
  readonly outputs: readonly StepOperand[];
  readonly steps: readonly WasmStep[];
  /** Bytes of temporaries that live during the step. */
  readonly temps: readonly number[];
  readonly flops: number;
}
