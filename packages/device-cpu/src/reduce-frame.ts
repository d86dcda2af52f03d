// What both kernels of reductions share: the layout of their argument blocks, and how a kernel opens one.

import type { DType, ReduceFn } from "@everlong/core";
import type { FunctionBuilder, ModuleBuilder, Value } from "@everlong/wasm";
import { FusedEmitter, pointerCount, type FusedSpec } from "./fused-code.ts";
import { PARTS } from "./reduction.ts";

/** Word positions in the argument block; base addresses (operands, then the output), inner strides and constants follow. */
export const REDUCE_HEADER = {
  inner: 0,
  columns: 1,
  columnSegments: 2,
  segmentRows: 3,
  rows: 4,
  segments: 5,
  partialStride: 6,
  keptTable: 7,
  reducedTable: 8,
} as const;
export const REDUCE_HEADER_WORDS = 9;

export interface ReduceSpec {
  readonly fused: FusedSpec;
  readonly fn: ReduceFn;
  /** Dtype of the reduced values. */
  readonly dtype: DType;
  /** Dtype in memory of the result. */
  readonly stored: DType;
}

/** An open argument block. */
export interface OpenReduction {
  readonly word: (index: number) => Value<"i32">;
  /** Number of operands. */
  readonly count: number;
  /** Base address of operand k, or of the output at k = count. */
  readonly base: (k: number) => Value<"i32">;
  /** Word i of the kernel's own behind the strides. */
  readonly own: (i: number) => Value<"i32">;
  readonly strides: readonly Value<"i32">[];
  /** Addresses of the tables of kept and of reduced axes. */
  readonly kept: Value<"i32">;
  readonly reduced: Value<"i32">;
  readonly fused: FusedEmitter;
}

/** Emits what reads the argument block at `args`, with `ownWords` words between the strides and the constants. */
export function openReduction(
  f: FunctionBuilder,
  module: ModuleBuilder,
  args: Value<"i32">,
  { fused: code }: ReduceSpec,
  ownWords: number,
): OpenReduction {
  const count = pointerCount(code);
  const word = (index: number): Value<"i32"> => f.mem.i32.load(args, 4 * index);
  const behind = REDUCE_HEADER_WORDS + 2 * count + 1;
  const strides = Array.from({ length: count }, (_, k) => word(REDUCE_HEADER_WORDS + count + 1 + k));
  const fused = new FusedEmitter(f, module, code, PARTS);
  fused.prologue(args, 4 * (behind + ownWords), strides);
  return {
    word,
    count,
    base: (k) => word(REDUCE_HEADER_WORDS + k),
    own: (i) => word(behind + i),
    strides,
    kept: f.i32.add(args, word(REDUCE_HEADER.keptTable)),
    reduced: f.i32.add(args, word(REDUCE_HEADER.reducedTable)),
    fused,
  };
}
