// CUDA source of rounded copies: one launch for up to 120 tensors.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import { productOf } from "../cuda-rows.ts";
import { blocksFor, type CudaSource, type CudaStep } from "../cuda-step.ts";
import type { RoundedCopiesParams } from "./op.ts";

/** Tensors of a launch: what its parameter holds. */
const MOST = 120;
/** Elements of a block of 256 threads, in fours. */
const BLOCK = 4096;

export const roundedCopiesCuda: CudaSource<RoundedCopiesParams> = {
  alignment: () => 16,
  longAxes: true,
  lower: ({ inputs, outputs, params }) => {
    if (inputs.some((v) => v.dtype !== "f32") || outputs.some((v) => v.dtype !== params.dtype))
      return `no kernel for ${inputs.map((v) => v.dtype).join()}`;
    const head = `typedef ${cudaType[params.dtype]} H;\nconstexpr int MOST = ${MOST};`;
    const sizes = inputs.map((v) => productOf(v.shape));
    const filled = sizes.map((_, i) => i).filter((i) => sizes[i]! > 0);
    const steps: CudaStep[] = [];
    for (let at = 0; at < filled.length; at += MOST) {
      const some = filled.slice(at, at + MOST);
      let blocks = 0;
      const firsts = some.map((i) => {
        const first = blocks;
        blocks += blocksFor(sizes[i]!, BLOCK);
        return first;
      });
      const padded = <T>(list: readonly T[], fill: T): T[] => [
        ...list,
        ...Array.from({ length: MOST - list.length }, () => fill),
      ];
      steps.push({
        kernel: {
          key: `rounded copies ${head}`,
          entry: "rounded_copies",
          source: () => `${head}\n${cudaFile("rounded-copies/kernel.cu")}`,
        },
        args: [
          ...padded(firsts, 2 ** 31 - 1),
          ...padded<{ input: number } | number>(
            some.map((i) => ({ input: i })),
            0,
          ),
          ...padded<{ output: number } | number>(
            some.map((i) => ({ output: i })),
            0,
          ),
          ...padded(
            some.map((i) => sizes[i]!),
            0,
          ),
        ],
        grid: [blocks, 1, 1],
        block: [256, 1, 1],
      });
    }
    return { steps };
  },
};
