// CUDA source of the embedding and its gradient.

import { cudaFile } from "../cuda-file.ts";
import { blocksFor, positionType, type CudaSource, type CudaStep } from "../cuda-step.ts";
import type { EmbeddingGradParams } from "./op.ts";

const kernel = (entry: string, count: number): CudaStep["kernel"] => {
  const head = `typedef ${positionType(count)} Index;`;
  return {
    key: `embedding ${entry} ${head}`,
    entry,
    source: () => `${head}\n${cudaFile("embedding/kernel.cu")}`,
  };
};

export const embeddingCuda: CudaSource<unknown> = {
  lower: ({ inputs, outputs }) => {
    const [count, width] = outputs[0]!.shape as [number, number];
    if (outputs[0]!.dtype !== "f32") return `no kernel for ${outputs[0]!.dtype}`;
    if (count * width === 0) return { steps: [] };
    return {
      steps: [
        {
          kernel: kernel("embedding", count * width),
          args: [{ input: 0 }, { input: 1 }, { output: 0 }, count * width, inputs[0]!.shape[0]!, width],
          grid: [blocksFor(count * width, 256), 1, 1],
          block: [256, 1, 1],
        },
      ],
    };
  },
};

/** Partial sums stay below this many bytes. */
const MOST_PARTIALS = 64 * 1024 * 1024;

export const embeddingGradCuda: CudaSource<EmbeddingGradParams> = {
  lower: ({ inputs, outputs, params }) => {
    const [rows, width] = outputs[0]!.shape as [number, number];
    if (outputs[0]!.dtype !== "f32") return `no kernel for ${outputs[0]!.dtype}`;
    if (rows * width === 0) return { steps: [] };
    const count = inputs[0]!.shape[0]!;
    const fits = Math.floor(MOST_PARTIALS / (4 * params.rows * width));
    const segments = Math.max(1, Math.min(64, fits, Math.ceil(count / 256)));
    const sums: CudaStep = {
      kernel: kernel("embedding_grad", 0),
      args: [
        { input: 0 },
        { input: 1 },
        segments > 1 ? { temp: 0 } : { output: 0 },
        count,
        rows,
        width,
        Math.max(1, Math.ceil(count / segments)),
      ],
      grid: [rows, segments, blocksFor(width, 128)],
      block: [128, 1, 1],
    };
    if (segments === 1) return { steps: [sums] };
    const combine: CudaStep = {
      kernel: kernel("embedding_combine", 0),
      args: [{ temp: 0 }, { output: 0 }, rows * width, segments],
      grid: [blocksFor(rows * width, 256), 1, 1],
      block: [256, 1, 1],
    };
    return { steps: [sums, combine], temps: [4 * segments * rows * width] };
  },
};
