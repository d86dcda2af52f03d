// CUDA source of many scaled tensors: one launch for up to 120.

import { cudaFile } from "../cuda-file.ts";
import { productOf } from "../cuda-rows.ts";
import { blocksFor, type CudaSource, type CudaStep } from "../cuda-step.ts";

/** Tensors of a launch: what its parameter holds. */
const MOST = 120;
/** Elements of a block of 256 threads. */
const BLOCK = 2048;

export const scaledAllCuda: CudaSource<unknown> = {
  longAxes: true,
  lower: ({ inputs, outputs }) => {
    if (inputs[0]!.dtype !== "f32") return `no kernel for ${inputs[0]!.dtype}`;
    const slices = productOf(inputs[0]!.shape);
    const sizes = outputs.map((v) => productOf(v.shape));
    const filled = sizes.map((_, i) => i).filter((i) => sizes[i]! > 0);
    const steps: CudaStep[] = [];
    for (let at = 0; at < filled.length; at += MOST) {
      const some = filled.slice(at, at + MOST);
      const rest = Array.from({ length: MOST - some.length }, () => 0);
      let blocks = 0;
      const firsts = some.map((i) => {
        const first = blocks;
        blocks += blocksFor(sizes[i]!, BLOCK);
        return first;
      });
      steps.push({
        kernel: {
          key: "scaled all",
          entry: "scaled_all",
          source: () => `constexpr int MOST = ${MOST};\n${cudaFile("scaled-all/kernel.cu")}`,
        },
        args: [
          ...firsts,
          ...rest.map(() => 2 ** 31 - 1),
          ...some.map((i) => ({ input: i + 1 })),
          ...rest,
          ...some.map((i) => ({ output: i })),
          ...rest,
          ...some.map((i) => sizes[i]!),
          ...rest,
          { input: 0 },
          slices,
        ],
        grid: [blocks, 1, 1],
        block: [256, 1, 1],
      });
    }
    return { steps };
  },
};
