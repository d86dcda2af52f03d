// CUDA source of softmax over the last axis.

import { productOf, rowStep } from "../cuda-rows.ts";
import type { CudaSource } from "../cuda-step.ts";

export const softmaxCuda: CudaSource<unknown> = {
  longAxes: true,
  lower: ({ outputs }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const n = shape.at(-1)!;
    const rows = productOf(shape) / n;
    if (rows === 0) return { steps: [] };
    return { steps: [rowStep("softmax", "softmax", rows, n, [], [{ input: 0 }, { output: 0 }, rows, n])] };
  },
};

export const softmaxGradCuda: CudaSource<unknown> = {
  longAxes: true,
  lower: ({ outputs }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const n = shape.at(-1)!;
    const rows = productOf(shape) / n;
    if (rows === 0) return { steps: [] };
    const args = [{ input: 0 }, { input: 1 }, { output: 0 }, rows, n];
    return { steps: [rowStep("softmax", "softmax_grad", rows, n, [], args)] };
  },
};
