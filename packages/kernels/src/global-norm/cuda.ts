// CUDA source of the global norm: sums of squares by block, one launch for up to 150 tensors, and one that adds them up.

import { cudaFile } from "../cuda-file.ts";
import { productOf } from "../cuda-rows.ts";
import { blocksFor, overTwoAxes, type CudaSource, type CudaStep } from "../cuda-step.ts";
import type { GlobalNormParams } from "./op.ts";

/** Tensors of a launch: what its parameter holds. */
const MOST = 150;
/** Elements of a block of 256 threads. */
const BLOCK = 4096;

export const globalNormCuda: CudaSource<GlobalNormParams> = {
  longAxes: true,
  lower: ({ inputs, outputs }) => {
    const { dtype } = outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const slices = productOf(outputs[0]!.shape);
    if (slices === 0) return { steps: [] };
    const sizes = inputs.map((v) => productOf(v.shape) / slices);
    const filled = sizes.map((_, i) => i).filter((i) => sizes[i]! > 0);
    const total = filled.reduce((n, i) => n + blocksFor(sizes[i]!, BLOCK), 0);
    const kernel = (entry: string): CudaStep["kernel"] => ({
      key: `global norm ${entry}`,
      entry,
      source: () => `constexpr int MOST = ${MOST};\n${cudaFile("global-norm/kernel.cu")}`,
    });
    const steps: CudaStep[] = [];
    let before = 0;
    for (let at = 0; at < filled.length; at += MOST) {
      const some = filled.slice(at, at + MOST);
      let blocks = 0;
      const firsts = some.map((i) => {
        const first = blocks;
        blocks += blocksFor(sizes[i]!, BLOCK);
        return first;
      });
      const rest = Array.from({ length: MOST - some.length }, () => 0);
      steps.push({
        kernel: kernel("squares"),
        args: [
          ...firsts,
          ...rest.map(() => 2 ** 31 - 1),
          ...some.map((i) => ({ input: i })),
          ...rest,
          ...some.map((i) => sizes[i]!),
          ...rest,
          { temp: 0 },
          before,
          total,
          slices,
        ],
        grid: [blocks, ...overTwoAxes(slices)],
        block: [256, 1, 1],
      });
      before += blocks;
    }
    steps.push({
      kernel: kernel("root"),
      args: [{ temp: 0 }, { output: 0 }, total],
      grid: [slices, 1, 1],
      block: [256, 1, 1],
    });
    return { steps, temps: [Math.max(4, 4 * slices * total)] };
  },
};
