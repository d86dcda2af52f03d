// CUDA source of rotary position embedding.

import { cudaFile } from "../cuda-file.ts";
import { productOf } from "../cuda-rows.ts";
import { blocksFor, positionType, type CudaSource } from "../cuda-step.ts";
import type { RotaryParams } from "./op.ts";

export const rotaryCuda: CudaSource<RotaryParams> = {
  accepts: (input, view) => input === 0 && (view.strides[3] === 1 || view.shape[3] === 1),
  lower: ({ inputs, outputs, params }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const size = productOf(shape);
    if (size === 0) return { steps: [] };
    const [, time, heads, features] = shape as [number, number, number, number];
    const [x, cos] = inputs;
    const half = cos!.shape.at(-1)!;
    const head = `#define INTERLEAVED ${params.interleaved ? 1 : 0}\ntypedef ${positionType(size)} Index;`;
    return {
      steps: [
        {
          kernel: {
            key: `rotary ${head}`,
            entry: "rotary",
            source: () => `${head}\n${cudaFile("rotary/kernel.cu")}`,
          },
          args: [
            ...[0, 1, 2].map((input) => ({ input })),
            { output: 0 },
            size,
            ...x!.strides.slice(0, 3),
            time,
            heads,
            features,
            half,
            cos!.shape.length === 3 ? time * half : 0,
            { f32: params.inverse ? -1 : 1 },
          ],
          grid: [blocksFor(size, 256), 1, 1],
          block: [256, 1, 1],
        },
      ],
    };
  },
};
