// The contract between the core and a device. The core turns graphs into programs (buffers, steps, memory plan); a
// device gives storage, says which steps it has kernels for, and runs programs. It is not: a graph, a tensor, autodiff.

import type { DType, TypedArray } from "./dtype.ts";
import type { OpDef } from "./op.ts";
import type { BinaryFn, CompareFn, PrimitiveParams, ReduceFn, UnaryFn } from "./primitives.ts";

/** Storage on a device. Contiguous; who holds it may free it once. */
export interface Buffer {
  readonly device: Device;
  readonly bytes: number;
  /** Gives the memory back; further use is an error. */
  free(): void;
}

/** How a step reads or writes a program buffer; strides and offset in elements, strides may be 0 or negative. */
export interface View {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

export interface Operand {
  /** Index into `Program.buffers`. */
  readonly buffer: number;
  readonly dtype: DType;
  readonly view: View;
}

/** One instruction of a fused loop; operands `a, b, c` are indices of earlier instructions. */
export type Instruction =
  | { readonly op: "load"; readonly dtype: DType; readonly arg: number }
  | { readonly op: "const"; readonly dtype: DType; readonly value: number }
  | {
      readonly op: "iota";
      readonly dtype: DType;
      readonly axis: number;
      readonly scale: number;
      readonly start: number;
    }
  | { readonly op: "unary"; readonly dtype: DType; readonly fn: UnaryFn; readonly a: number }
  | {
      readonly op: "binary";
      readonly dtype: DType;
      readonly fn: BinaryFn;
      readonly a: number;
      readonly b: number;
    }
  /** Result is bool; operands have dtype `of`. */
  | {
      readonly op: "compare";
      readonly dtype: "bool";
      readonly of: DType;
      readonly fn: CompareFn;
      readonly a: number;
      readonly b: number;
    }
  | {
      readonly op: "select";
      readonly dtype: DType;
      readonly a: number;
      readonly b: number;
      readonly c: number;
    }
  | { readonly op: "cast"; readonly dtype: DType; readonly from: DType; readonly a: number };

/** Elementwise code over an index space: for every index, load, compute, store. */
export interface LoopStep {
  readonly kind: "loop";
  readonly shape: readonly number[];
  /** Views over `shape`. */
  readonly args: readonly Operand[];
  readonly code: readonly Instruction[];
  readonly outputs: readonly { readonly operand: Operand; readonly value: number }[];
}

/** The same code, its last instruction reduced over `axes` of `shape`; the output's view spans the remaining axes. */
export interface ReduceStep {
  readonly kind: "reduce";
  readonly shape: readonly number[];
  readonly axes: readonly number[];
  readonly fn: ReduceFn;
  readonly args: readonly Operand[];
  readonly code: readonly Instruction[];
  readonly output: Operand;
}

/** Primitives that run as a kernel of their own. */
export type KernelPrimitive =
  | "argReduce"
  | "cumulative"
  | "sort"
  | "gather"
  | "scatter"
  | "matmul"
  | "fft"
  | "randomBits";

export interface PrimitiveStep {
  readonly kind: "primitive";
  readonly primitive: {
    readonly [P in KernelPrimitive]: { readonly name: P; readonly params: PrimitiveParams[P] };
  }[KernelPrimitive];
  readonly inputs: readonly Operand[];
  /** Contiguous. */
  readonly outputs: readonly Operand[];
}

export interface FusedStep {
  readonly kind: "fused";
  readonly def: OpDef;
  readonly params: unknown;
  readonly inputs: readonly Operand[];
  /** Contiguous; output i may share the buffer of input `def.inPlace[i]`. */
  readonly outputs: readonly Operand[];
}

/** A loop over time; carries are double-buffered by the device. */
export interface ScanStep {
  readonly kind: "scan";
  /** Inputs: carries, one step of each sequence, constants. Outputs: carries, one step of each output sequence. */
  readonly body: Program;
  readonly length: number;
  readonly carries: number;
  readonly sequences: number;
  readonly reverse: boolean;
  /** Contiguous: carries, sequences (leading time axis), constants. */
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Operand[];
}

export type Step = LoopStep | ReduceStep | PrimitiveStep | FusedStep | ScanStep;

export type BufferRole =
  | { readonly kind: "input"; readonly index: number }
  | { readonly kind: "output"; readonly index: number }
  /** Lives inside the program, at a byte offset of its arena. */
  | { readonly kind: "temp"; readonly offset: number }
  | { readonly kind: "constant"; readonly data: TypedArray };

export interface BufferSpec {
  readonly bytes: number;
  readonly dtype: DType;
  readonly role: BufferRole;
}

/** A scheduled graph: what a device runs. */
export interface Program {
  readonly buffers: readonly BufferSpec[];
  readonly steps: readonly Step[];
  /** Bytes of all temporaries after the memory plan. */
  readonly arenaBytes: number;
  readonly inputs: number;
  readonly outputs: number;
  /** User's line per step, when recorded. */
  readonly sites: readonly (string | undefined)[];
  /** Output i takes over the memory of input `donated[i]`. */
  readonly donated: readonly (number | undefined)[];
}

/** A program made ready: kernels built, memory reserved. */
export interface Executable {
  /**
   * Runs on input buffers and returns output buffers. Work may still be in flight on return. A donated input's buffer
   * comes back as the output and must not be used under its old name.
   */
  run(inputs: readonly Buffer[]): Buffer[];
  /** One line per step: kernel name, bytes, flops. */
  describe(): string;
  dispose(): void;
}

export interface DeviceStats {
  /** Bytes held by buffers and executables now, and the most so far. */
  readonly liveBytes: number;
  readonly peakBytes: number;
  /** Distinct kernels built so far. */
  readonly kernels: number;
  /** Kernel launches so far. */
  readonly launches: number;
}

export interface Device {
  /** `cpu`, `reference`, `webgpu`, `cuda:0`. */
  readonly name: string;
  /** Dtype of new float tensors; f64 on the reference device. */
  readonly defaultFloat: "f32" | "f64";
  readonly dtypes: readonly DType[];
  /** Bytes that one tensor may have. Default: 4 GiB, what kernels with 32-bit addresses reach. */
  readonly mostTensorBytes?: number;
  readonly stats: DeviceStats;
  /** Whether the device has a kernel for the step, or the reason why not (it then runs the reference, or refuses in strict mode). */
  supports(step: Step): true | string;
  upload(data: TypedArray, dtype: DType): Buffer;
  /** A copy of the buffer on the host. */
  download(buffer: Buffer, dtype: DType, length: number): Promise<TypedArray>;
  load(program: Program): Executable;
}
