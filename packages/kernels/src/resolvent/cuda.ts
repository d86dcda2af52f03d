// CUDA sources of resolvents and of the sums of their gradients.

import { cudaFile } from "../cuda-file.ts";
import { blocksFor, twoCounts, type CudaSource, type CudaStep, type CudaWord } from "../cuda-step.ts";
import type { ResolventParams } from "./points.ts";

/** Sets that share an inverse, at most. */
const MOST_GROUP = 4;
/** Points of a segment below which a block's own costs count. */
const LEAST_SEGMENT = 256;
const BLOCKS_PER_PROCESSOR = 4;

function kernel(entry: string, group: number, folded: boolean): CudaStep["kernel"] {
  const head = `#define GROUP ${group}\n#define MODE_CHUNK 128\n#define POINT_CHUNK 128\n#define FOLDED ${folded ? 1 : 0}`;
  return {
    key: `resolvent ${entry} ${group}${folded ? " folded" : ""}`,
    entry,
    source: () => `${head}\n${cudaFile("resolvent/kernel.cu")}`,
  };
}

const groupOf = (sets: number): number => (sets >= 3 ? MOST_GROUP : Math.max(1, sets));

const INPUTS: readonly CudaWord[] = [0, 1, 2, 3].map((input) => ({ input }));

/** `(v re, v im, a re, a im) -> (y re, y im)`. */
export const resolventCuda: CudaSource<ResolventParams> = {
  lower: ({ inputs, outputs, params }) => {
    if (inputs[0]!.dtype !== "f32") return `no kernel for ${inputs[0]!.dtype}`;
    const [sets, systems, modes] = inputs[0]!.shape as [number, number, number];
    const points = outputs[0]!.shape[2]!;
    if (sets * systems === 0) return { steps: [] };
    const group = groupOf(sets);
    const { folded, axes } = twoCounts(systems, Math.ceil(sets / group));
    return {
      steps: [
        {
          kernel: kernel("resolvent", group, folded),
          args: [...INPUTS, { output: 0 }, { output: 1 }, sets, systems, modes, points, params.nodes],
          grid: [blocksFor(points, 256), ...axes],
          block: [128, 1, 1],
        },
      ],
    };
  },
};

/** `(g re, g im, a re, a im) -> (s re, s im, t re, t im)`. */
export const resolventSumsCuda: CudaSource<ResolventParams> = {
  lower: ({ inputs, outputs, params }, target) => {
    if (inputs[0]!.dtype !== "f32") return `no kernel for ${inputs[0]!.dtype}`;
    const [sets, systems, points] = inputs[0]!.shape as [number, number, number];
    const modes = outputs[0]!.shape[2]!;
    const count = sets * systems * modes;
    if (count === 0) return { steps: [] };
    const group = groupOf(sets);
    const groups = Math.ceil(sets / group);
    const blocks = blocksFor(modes, 32) * systems * groups;
    const enough = Math.ceil((BLOCKS_PER_PROCESSOR * target.processors) / blocks);
    const segments = Math.max(1, Math.min(enough, Math.floor(points / LEAST_SEGMENT)));
    const { folded, axes } = twoCounts(systems, groups * segments);
    const results = [0, 1, 2, 3];
    const bytes = 4 * count * segments;
    const sums: CudaStep = {
      kernel: kernel("resolvent_sums", group, folded),
      args: [
        ...INPUTS,
        ...results.map((i): CudaWord =>
          segments === 1 ? { output: i } : { temp: 0, byteOffset: i * bytes },
        ),
        sets,
        systems,
        modes,
        points,
        params.nodes,
        segments,
      ],
      grid: [blocksFor(modes, 32), ...axes],
      block: [256, 1, 1],
    };
    if (segments === 1) return { steps: [sums] };
    const total: CudaStep = {
      kernel: kernel("resolvent_total", group, false),
      args: [{ temp: 0 }, ...results.map((output): CudaWord => ({ output })), count, segments],
      grid: [blocksFor(count, 256), results.length, 1],
      block: [256, 1, 1],
    };
    return { steps: [sums, total], temps: [results.length * bytes] };
  },
};
