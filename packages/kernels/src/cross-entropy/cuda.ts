// CUDA source of cross-entropy with class numbers.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import { productOf, rowStep } from "../cuda-rows.ts";
import { blocksFor, type CudaSource, type CudaStep, type CudaWord } from "../cuda-step.ts";
import type { CrossEntropyParams } from "./op.ts";

export const crossEntropyCuda: CudaSource<CrossEntropyParams> = {
  lower: ({ inputs, params }) => {
    const { shape, dtype } = inputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const n = shape.at(-1)!;
    const rows = productOf(shape) / n;
    if (rows === 0) return { steps: [] };
    const args: CudaWord[] = [
      { input: 0 },
      { input: 1 },
      { output: 0 },
      { output: 1 },
      rows,
      n,
      params.ignoreIndex,
      { f32: params.labelSmoothing },
    ];
    return { steps: [rowStep("cross-entropy", "cross_entropy", rows, n, [], args)] };
  },
};

export const crossEntropyGradCuda: CudaSource<CrossEntropyParams> = {
  lower: ({ inputs, params }) => {
    const { shape, dtype } = inputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const n = shape.at(-1)!;
    const rows = productOf(shape) / n;
    if (rows === 0) return { steps: [] };
    const args: CudaWord[] = [
      { input: 0 },
      { input: 1 },
      { input: 2 },
      { input: 3 },
      { output: 0 },
      rows,
      n,
      params.ignoreIndex,
      { f32: params.labelSmoothing },
    ];
    return { steps: [rowStep("cross-entropy", "cross_entropy_grad", rows, n, [], args)] };
  },
};

/** Lanes of a row: about four classes each. */
const lanesOf = (n: number): number => Math.min(32, 2 ** Math.ceil(Math.log2(Math.max(1, n / 4))));

function meanStep(
  entry: string,
  dtype: "f32" | "f16" | "bf16",
  n: number,
  rows: number,
  args: readonly CudaWord[],
): CudaStep {
  const lanes = lanesOf(n);
  const head = `typedef ${cudaType[dtype]} E; constexpr int LANES = ${lanes};`;
  return {
    kernel: {
      key: `${entry} ${head}`,
      entry,
      source: () => `${head}\n${cudaFile("cross-entropy/kernel-mean.cu")}`,
    },
    args,
    grid: [blocksFor(rows, 256 / lanes), 1, 1],
    block: [256, 1, 1],
  };
}

const isStored = (dtype: string): dtype is "f32" | "f16" | "bf16" =>
  dtype === "f32" || dtype === "f16" || dtype === "bf16";

export const meanCrossEntropyCuda: CudaSource<CrossEntropyParams> = {
  lower: ({ inputs, params }) => {
    const { shape, dtype } = inputs[0]!;
    if (!isStored(dtype)) return `no kernel for ${dtype}`;
    const n = shape.at(-1)!;
    const rows = productOf(inputs[1]!.shape);
    const settings: CudaWord[] = [params.ignoreIndex, { f32: params.labelSmoothing }];
    const args: CudaWord[] = [{ input: 0 }, { input: 1 }, { output: 1 }, { temp: 0 }, rows, n, ...settings];
    const first = meanStep("mean_cross_entropy", dtype, n, rows, args);
    const blocks = first.grid[0];
    const last = meanStep("mean_of_rows", "f32", 1, 1, [{ temp: 0 }, { output: 0 }, { output: 2 }, blocks]);
    return { steps: [first, last], temps: [8 * blocks] };
  },
};

export const meanCrossEntropyGradCuda: CudaSource<CrossEntropyParams> = {
  lower: ({ inputs, params }) => {
    const { shape, dtype } = inputs[0]!;
    if (!isStored(dtype)) return `no kernel for ${dtype}`;
    const n = shape.at(-1)!;
    const rows = productOf(inputs[1]!.shape);
    if (rows === 0) return { steps: [] };
    const args: CudaWord[] = [
      ...[0, 1, 2, 3, 4].map((input) => ({ input })),
      { output: 0 },
      rows,
      n,
      params.ignoreIndex,
      { f32: params.labelSmoothing },
    ];
    return { steps: [meanStep("mean_cross_entropy_grad", dtype, n, rows, args)] };
  },
};
