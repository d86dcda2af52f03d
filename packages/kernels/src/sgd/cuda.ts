// CUDA source of a step of gradient descent on one parameter, in place.

import { cudaFile } from "../cuda-file.ts";
import { productOf } from "../cuda-rows.ts";
import { blocksFor, type CudaSource, type CudaView } from "../cuda-step.ts";
import { slicesOf } from "../update-settings.ts";
import type { SgdParams } from "./op.ts";

export const sgdCuda: CudaSource<SgdParams> = {
  longAxes: true,
  lower: ({ inputs, outputs, params }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const size = productOf(shape);
    if (size === 0) return { steps: [] };
    const [rate, decay] = inputs.slice(3);
    const { each } = slicesOf(inputs[0]!, inputs.slice(3));
    const stride = (view: CudaView | undefined): number => (view && view.shape.length > 0 ? 1 : 0);
    return {
      steps: [
        {
          kernel: { key: "sgd", entry: "sgd", source: () => cudaFile("sgd/kernel.cu") },
          args: [
            ...[0, 1, 2, 3].map((input) => ({ input })),
            ...[0, 1].map((output) => ({ output })),
            size,
            { f32: params.momentum },
            { f32: params.weightDecay },
            params.nesterov ? 1 : 0,
            each,
            stride(rate),
            stride(decay),
            decay ? { input: 4 } : 0,
          ],
          grid: [blocksFor(size, 256), 1, 1],
          block: [256, 1, 1],
        },
      ],
    };
  },
};
