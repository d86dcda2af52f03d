// CUDA source of AdamW's step on one parameter, in place.

import { cudaFile } from "../cuda-file.ts";
import { productOf } from "../cuda-rows.ts";
import { blocksFor, type CudaSource, type CudaView } from "../cuda-step.ts";
import { slicesOf } from "../update-settings.ts";
import type { AdamWParams } from "./op.ts";

export const adamwCuda: CudaSource<AdamWParams> = {
  longAxes: true,
  lower: ({ inputs, outputs, params }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const size = productOf(shape);
    if (size === 0) return { steps: [] };
    const { beta1, beta2, eps, weightDecay } = params;
    const [rate, step, decay] = inputs.slice(4);
    const { each } = slicesOf(inputs[0]!, inputs.slice(4));
    const stride = (view: CudaView | undefined): number => (view && view.shape.length > 0 ? 1 : 0);
    const log = (beta: number): number => (beta === 0 ? 0 : Math.log(beta));
    return {
      steps: [
        {
          kernel: { key: "adamw", entry: "adamw", source: () => cudaFile("adamw/kernel.cu") },
          args: [
            ...[0, 1, 2, 3, 4, 5].map((input) => ({ input })),
            ...[0, 1, 2].map((output) => ({ output })),
            size,
            ...[beta1, 1 - beta1, beta2, 1 - beta2, eps, weightDecay, log(beta1), log(beta2)].map((f32) => ({
              f32,
            })),
            each,
            stride(rate),
            stride(step),
            stride(decay),
            decay ? { input: 6 } : 0,
          ],
          grid: [blocksFor(size, 256), 1, 1],
          block: [256, 1, 1],
          blockFunction: "adamw_block",
        },
      ],
    };
  },
};
