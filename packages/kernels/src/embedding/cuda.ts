// CUDA source of the embedding and its gradient.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import { blocksFor, positionType, type CudaLowering, type CudaSource, type CudaStep } from "../cuda-step.ts";
import { sortedEmbeddingGrad } from "./cuda-sorted.ts";
import type { EmbeddingGradParams } from "./op.ts";

type Stored = "f32" | "f16" | "bf16";
const isStored = (dtype: string): dtype is Stored => dtype === "f32" || dtype === "f16" || dtype === "bf16";

const kernel = (entry: string, count: number, dtype: Stored, width = 1): CudaStep["kernel"] => {
  const head = `typedef ${positionType(count)} Index; typedef ${cudaType[dtype]} E; constexpr int WIDTH = ${width};`;
  return {
    key: `embedding ${entry} ${head}`,
    entry,
    source: () => `${head}\n${cudaFile("embedding/kernel.cu")}`,
  };
};

export const embeddingCuda: CudaSource<unknown> = {
  longAxes: true,
  lower: ({ inputs, outputs }) => {
    const [count, width] = outputs[0]!.shape as [number, number];
    const { dtype } = outputs[0]!;
    if (!isStored(dtype)) return `no kernel for ${dtype}`;
    if (count * width === 0) return { steps: [] };
    const most = dtype === "f32" ? 4 : 8;
    const some = width % most === 0 && inputs[0]!.aligned && outputs[0]!.aligned ? most : 1;
    const groups = (count * width) / some;
    return {
      steps: [
        {
          kernel: kernel("embedding", groups, dtype, some),
          args: [{ input: 0 }, { input: 1 }, { output: 0 }, groups, inputs[0]!.shape[0]!, width / some],
          grid: [blocksFor(groups, 256), 1, 1],
          block: [256, 1, 1],
          blockFunction: "embedding_block",
        },
      ],
    };
  },
};

/** Partial sums stay below this many bytes. */
const MOST_PARTIALS = 64 * 1024 * 1024;
/** Rows of a table that a block holds whole. */
const FEW_ROWS = 96;
/**
 * Ids, and products of ids, rows and groups of 128 columns, up to which every row looks at every id: 4 warps a group and some 3
 * instructions an id are 12 issue slots, of which 132 processors have 528 a cycle, so 7 us at most (and a block 3 us for its ids), where
 * the five launches or more that sort take 10.
 */
const [FEW_IDS, FEW_LOOKS] = [1024, 2 ** 19];

const scanned = (dtype: Stored, count: number, rows: number, width: number): CudaStep => ({
  kernel: kernel("embedding_grad", 0, dtype),
  args: [{ input: 0 }, { input: 1 }, { output: 0 }, count, rows, width, blocksFor(width, 128)],
  grid: [rows * blocksFor(width, 128), 1, 1],
  block: [128, 1, 1],
});

function inSharedMemory(dtype: Stored, count: number, rows: number, width: number): CudaLowering {
  const fits = Math.floor(MOST_PARTIALS / (4 * rows * width));
  const segments = Math.max(1, Math.min(256, fits, Math.ceil(count / 64)));
  const each = Math.max(1, Math.ceil(count / segments));
  const sums: CudaStep = {
    kernel: kernel("embedding_grad_few", 0, dtype),
    args: [
      { input: 0 },
      { input: 1 },
      segments > 1 ? { temp: 0 } : { output: 0 },
      count,
      rows,
      width,
      each,
      segments,
    ],
    grid: [segments * blocksFor(width, 128), 1, 1],
    block: [128, 1, 1],
    sharedBytes: rows * 128 * 4,
    blockFunction: "embedding_grad_few_block",
  };
  if (segments === 1) return { steps: [sums] };
  const combine: CudaStep = {
    kernel: kernel("embedding_combine", 0, "f32"),
    args: [{ temp: 0 }, { output: 0 }, rows * width, segments],
    grid: [blocksFor(rows * width, 32), 1, 1],
    block: [1024, 1, 1],
    blockFunction: "embedding_combine_block",
  };
  return { steps: [sums, combine], temps: [4 * segments * rows * width] };
}

export const embeddingGradCuda: CudaSource<EmbeddingGradParams> = {
  longAxes: true,
  lower: ({ inputs, outputs }) => {
    const [rows, width] = outputs[0]!.shape as [number, number];
    const { dtype } = inputs[1]!;
    if (!isStored(dtype)) return `no kernel for ${dtype}`;
    if (rows * width === 0) return { steps: [] };
    const count = inputs[0]!.shape[0]!;
    if (rows <= FEW_ROWS) return inSharedMemory(dtype, count, rows, width);
    if (count <= FEW_IDS && count * rows * blocksFor(width, 128) <= FEW_LOOKS)
      return { steps: [scanned(dtype, count, rows, width)] };
    const aligned = inputs[1]!.aligned === true && outputs[0]!.aligned === true;
    return sortedEmbeddingGrad({ count, rows, width, dtype, aligned });
  },
};
