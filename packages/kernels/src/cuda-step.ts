// How one call of a fused op becomes launches on a CUDA device. A kernel specialises on dtype, head size, tile and FFT
// factors; batch, lengths and strides are run-time words, so that many shapes share few kernels.

import type { DType } from "@everlong/core";

/** A buffer as a kernel sees it; strides and offset in elements. */
export interface CudaView {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  /** Whether the first element lies on a multiple of 16 bytes; unknown where absent. */
  readonly aligned?: boolean;
}

/**
 * How the copy engine of sm_90 sees a buffer: axes with the fastest first, strides of all axes but that one in bytes (multiples of 16),
 * and the box that one copy brings to shared memory, 128 bytes a row, in the engine's 128-byte swizzle. Outside of the sizes are zeros.
 */
export interface CudaTileMap {
  readonly dtype: "f16" | "bf16";
  readonly sizes: readonly number[];
  readonly strides: readonly number[];
  readonly box: readonly number[];
}

/** Words that a {@link CudaTileMap} takes; it must begin on a multiple of 8 words, in a parameter aligned to 64 bytes. */
export const TILE_MAP_WORDS = 16;

/** One 64-bit word of a launch's arguments: an integer, an f32 in its low half, or an address resolved by the device (or, longer, a tile map). */
export type CudaWord =
  | number
  | { readonly f32: number }
  | ({ readonly input: number } & CudaPlace)
  | ({ readonly output: number } & CudaPlace)
  | ({ readonly temp: number } & CudaPlace)
  | { readonly table: number };

interface CudaPlace {
  readonly byteOffset?: number;
  /** Passes a tile map of the buffer instead of its address. */
  readonly map?: CudaTileMap;
}

/** Constant data (twiddles and the like), made once per device and shared by every step that names its key. */
export interface CudaTable {
  readonly key: string;
  readonly bytes: number;
  readonly fill: (memory: DataView) => void;
}

/**
 * One launch. The kernel's only parameter is `const __grid_constant__ Words<N> w`, N the number of `args`;
 * `Words`, `pointer<T>(w, i)`, `integer(w, i)` and `number(w, i)` come from the device's prelude (see `cudaPrelude`).
 */
export interface CudaStep {
  /** `source` gives complete CUDA C++ without the prelude; `key` names it among all kernels. */
  readonly kernel: { readonly key: string; readonly entry: string; readonly source: () => string };
  readonly args: readonly CudaWord[];
  readonly grid: readonly [number, number, number];
  readonly block: readonly [number, number, number];
  /** Dynamic shared memory. Default 0. */
  readonly sharedBytes?: number;
  readonly tables?: readonly CudaTable[];
  /**
   * A device function of the source, `void name(const Words<N>& w, u32 block)`, that does the work of one block of the launch. Launches of
   * the kernel that do not depend on each other then run as one.
   */
  readonly blockFunction?: string;
  /** Blocks that a processor shall hold at once where launches are joined: as the kernel's own launch bounds say. */
  readonly resident?: number;
}

/** What the device offers. */
export interface CudaTarget {
  /** Compute capability times ten: 80, 90. */
  readonly arch: number;
  /** Streaming multiprocessors. */
  readonly processors: number;
  /** Shared memory that one block may ask for, in bytes. */
  readonly sharedLimit: number;
  /** Second-level cache, in bytes. */
  readonly cacheBytes: number;
}

export interface CudaCall<P> {
  readonly inputs: readonly CudaView[];
  /** Outputs are contiguous. */
  readonly outputs: readonly CudaView[];
  readonly params: P;
  /** Where values lie that are to be added to output 0, shaped and stored as it is; see {@link CudaSource.adds}. */
  readonly added?: CudaWord | undefined;
}

/** A product for the vendor's library, when it is there. Row-major; strides in elements. */
export interface CudaProduct {
  readonly library: "gemm";
  readonly dtype: "f32" | "f16" | "bf16";
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch: number;
  readonly a: CudaMatrix;
  readonly b: CudaMatrix;
  readonly c: CudaMatrix;
  /** `[n]`, added to every row of the result. */
  readonly bias?: Exclude<CudaWord, number>;
  /** Shaped and lying as `c`, where it may be: added to the result. */
  readonly added?: Exclude<CudaWord, number>;
  /** What runs where the library is absent, or has nothing for this product. */
  readonly otherwise: readonly (CudaStep | CudaProduct)[];
}

/** `transposed`: elements of a column are neighbours. */
export interface CudaMatrix {
  readonly word: Exclude<CudaWord, number>;
  readonly leading: number;
  readonly batchStride: number;
  readonly transposed: boolean;
}

export interface CudaLowering {
  /** Run in order on one stream. */
  readonly steps: readonly (CudaStep | CudaProduct)[];
  /** Bytes of each temporary buffer, live for the whole call. */
  readonly temps?: readonly number[];
}

/** One operand of a call. */
export type CudaOperand = { readonly input: number } | { readonly output: number };

/** The CUDA source of a fused op. */
export interface CudaSource<P> {
  /**
   * Bytes, up to 16, of which the address of an operand's first element must be a multiple. An input that lies elsewhere is copied to
   * memory that fits, a result is made there and copied back. Default: an element. A source that has a kernel for either case reads
   * {@link CudaView.aligned} instead.
   */
  readonly alignment?: (operand: CudaOperand, params: P) => number;
  /** Whether input `i` may arrive with this view; a refused one is copied to a contiguous buffer first. Default: contiguous only. */
  readonly accepts?: (input: number, view: CudaView, call: CudaCall<P>) => boolean;
  /** Whether the launches of a call can add other values, which may lie where output 0 goes, to output 0 in passing. Default: no. */
  readonly adds?: (call: CudaCall<P>) => boolean;
  /** Whether its kernels number positions along an axis with 64 bits. Default: 32, and calls with longer axes are refused. */
  readonly longAxes?: true;
  /** The launches of a call, or the reason why it is not supported. */
  readonly lower: (call: CudaCall<P>, target: CudaTarget) => CudaLowering | string;
}

/** Blocks of `threads` threads that cover `count` items. */
export const blocksFor = (count: number, threads: number): number => Math.max(1, Math.ceil(count / threads));

/**
 * Blocks along a grid's second and third axis, 65,535 at most each, that make at least `count` together: a block's number is
 * `blockIdx.z * gridDim.y + blockIdx.y`, and those from `count` on have nothing to do.
 */
export function overTwoAxes(count: number): readonly [number, number] {
  const third = blocksFor(count, 65_535);
  return [blocksFor(count, third), third];
}

/**
 * Two counts along a grid's second and third axis; where one is beyond 65,535, the products of both along the two (`folded`), of which those
 * with the same third count follow each other.
 */
export function twoCounts(
  second: number,
  third: number,
): { readonly folded: boolean; readonly axes: readonly [number, number] } {
  const folded = Math.max(second, third) > 65_535;
  return { folded, axes: folded ? overTwoAxes(second * third) : [second, third] };
}

/** The C++ type that numbers `count` items in blocks: divisions of 32 bits cost a fraction of those of 64. */
export const positionType = (count: number): "u32" | "u64" => (count < 2 ** 31 ? "u32" : "u64");
