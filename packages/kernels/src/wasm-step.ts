// How one call of a fused op becomes WebAssembly work for the CPU device. A kernel specialises on dtype, tile and FFT
// factors only; batch, lengths and strides are run-time words, so that many shapes share few modules.

import type { DType } from "@everlong/core";
import type { ModuleBuilder } from "@everlong/wasm";

/** A buffer as a kernel sees it; strides and offset in elements. */
export interface WasmView {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

/** One 32-bit word of a step's argument block: an i32, an f32, or an address resolved by the device. */
export type ArgWord =
  | number
  | { readonly f32: number }
  | { readonly input: number; readonly byteOffset?: number }
  | { readonly output: number; readonly byteOffset?: number }
  | { readonly temp: number; readonly byteOffset?: number }
  | { readonly table: number };

/** Constant data (twiddles and the like), made once per process and shared by every step that names its key. */
export interface WasmTable {
  readonly key: string;
  readonly bytes: number;
  readonly fill: (memory: DataView, byteOffset: number) => void;
}

/**
 * One parallel loop. The exported function `entry` has the signature `(args, begin, end, scratch)`, all i32:
 * `args` points at the argument block, units `begin <= u < end` are to be done, `scratch` points at
 * `scratchBytes` of 64-byte aligned memory of the calling thread (contents undefined).
 * Units are independent: any split over threads gives the same bits.
 */
export interface WasmStep {
  readonly kernel: { readonly key: string; readonly build: (module: ModuleBuilder) => void };
  readonly entry: string;
  readonly args: readonly ArgWord[];
  readonly units: number;
  /** Units a thread takes at a time. */
  readonly grain: number;
  readonly scratchBytes: number;
  readonly tables?: readonly WasmTable[];
}

/** What the engine runs best: `width` 2 = every v128 in pairs (the V8 revectorizer is on), 1 = single vectors. */
export interface WasmTarget {
  readonly width: 1 | 2;
  /** relaxed_madd may be used. */
  readonly relaxed: boolean;
}

export interface WasmCall<P> {
  readonly inputs: readonly WasmView[];
  /** Outputs are contiguous. */
  readonly outputs: readonly WasmView[];
  readonly params: P;
}

export interface WasmLowering {
  /** Run in order with a barrier between steps. */
  readonly steps: readonly WasmStep[];
  /** Bytes of each temporary buffer, live for the whole call. */
  readonly temps?: readonly number[];
}

/** The WebAssembly source of a fused op. */
export interface WasmSource<P> {
  /** Whether input `i` may arrive with this view; a refused one is copied to a contiguous buffer first. Default: contiguous only. */
  readonly accepts?: (input: number, view: WasmView, call: WasmCall<P>) => boolean;
  /** The steps of a call, or the reason why it is not supported. */
  readonly lower: (call: WasmCall<P>, target: WasmTarget) => WasmLowering | string;
}
