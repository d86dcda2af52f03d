// CUDA source of cross-entropy with class numbers.

import { productOf, rowStep } from "../cuda-rows.ts";
import type { CudaSource, CudaWord } from "../cuda-step.ts";
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
