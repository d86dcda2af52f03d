// CUDA sources of transfer functions and of their gradients, in float64.

import { cudaFile } from "../cuda-file.ts";
import {
  blocksFor,
  twoCounts,
  type CudaSource,
  type CudaStep,
  type CudaTable,
  type CudaWord,
} from "../cuda-step.ts";
import { resolventPoint, resolventPoints, type ResolventParams } from "../resolvent/points.ts";
import { MOST_RANK } from "./names.ts";

/** Points of a segment below which a block's own costs count. */
const LEAST_SEGMENT = 256;
const BLOCKS_PER_PROCESSOR = 4;
const DOUBLE = 8;

/** As in the kernel. */
const pointsOfThread = (rank: number): number => (rank > 2 ? 1 : 2);

function kernel(entry: string, rank: number, folded = false): CudaStep["kernel"] {
  return {
    key: `dplr-transfer ${entry} ${rank}${folded ? " folded" : ""}`,
    entry,
    source: () =>
      `#define RANK ${rank}\n#define FOLDED ${folded ? 1 : 0}\n${cudaFile("dplr-transfer/kernel.cu")}`,
  };
}

function pointTable(nodes: number): CudaTable {
  const points = resolventPoints(nodes);
  return {
    key: `dplr-transfer/${nodes}`,
    bytes: 4 * DOUBLE * points,
    fill: (memory) => {
      for (let j = 0; j < points; j++)
        resolventPoint(j, nodes).forEach((v, i) => memory.setFloat64(DOUBLE * (4 * j + i), v, true));
    },
  };
}

/** Words of b, c, p, a and dt, inputs from `first` on, and of the points. */
const systemWords = (first: number): CudaWord[] => [
  ...Array.from({ length: 9 }, (_, i): CudaWord => ({ input: first + i })),
  { table: 0 },
];

function refusal(rank: number, dtype: string): string | undefined {
  if (dtype !== "f32") return `no kernel for ${dtype}`;
  if (rank > MOST_RANK) return `a rank of ${rank} is more than ${MOST_RANK}`;
  return undefined;
}

/** `(b, c, p, a as re and im, dt) -> (k re, k im)`. */
export const transferCuda: CudaSource<ResolventParams> = {
  lower: ({ inputs, outputs, params }) => {
    const [sets, reads, systems, points] = outputs[0]!.shape as [number, number, number, number];
    const rank = inputs[4]!.shape[0]!;
    const modes = inputs[6]!.shape[1]!;
    const pairs = sets * reads;
    const refused = refusal(rank, inputs[0]!.dtype);
    if (refused !== undefined) return refused;
    if (pairs * systems === 0) return { steps: [] };
    const { folded, axes } = twoCounts(systems, pairs);
    return {
      steps: [
        {
          kernel: kernel("dplr_transfer", rank, folded),
          args: [
            ...systemWords(0),
            sets,
            reads,
            systems,
            modes,
            inputs[8]!.shape[1]!,
            points,
            { output: 0 },
            { output: 1 },
          ],
          grid: [blocksFor(points, 128 * pointsOfThread(rank)), ...axes],
          block: [128, 1, 1],
          tables: [pointTable(params.nodes)],
        },
      ],
    };
  },
};

/** `(g re, g im, b, c, p, a as re and im, dt) -> gradients of all but g`. */
export const transferGradCuda: CudaSource<ResolventParams> = {
  lower: ({ inputs, params }, target) => {
    const [sets, reads, systems, points] = inputs[0]!.shape as [number, number, number, number];
    const rank = inputs[6]!.shape[0]!;
    const modes = inputs[8]!.shape[1]!;
    const steps = inputs[10]!.shape[1]!;
    const pairs = sets * reads;
    const refused = refusal(rank, inputs[0]!.dtype);
    if (refused !== undefined) return refused;
    if (pairs * systems * modes === 0) return "an empty axis";
    const tiles = blocksFor(modes, 32);
    const enough = Math.ceil((BLOCKS_PER_PROCESSOR * target.processors) / (tiles * systems * pairs));
    const segments = Math.max(1, Math.min(enough, Math.floor(points / LEAST_SEGMENT)));
    const parts = segments * pairs;
    const { folded, axes } = twoCounts(systems, parts);
    const sums: CudaStep = {
      kernel: kernel("dplr_transfer_sums", rank, folded),
      args: [
        ...systemWords(2),
        sets,
        reads,
        systems,
        modes,
        steps,
        points,
        { input: 0 },
        { input: 1 },
        { temp: 0 },
        segments,
      ],
      grid: [tiles, ...axes],
      block: [128, 1, 1],
      tables: [pointTable(params.nodes)],
    };
    const total: CudaStep = {
      kernel: kernel("dplr_transfer_total", rank),
      args: [
        { input: 10 },
        { temp: 0 },
        ...Array.from({ length: 9 }, (_, i): CudaWord => ({ output: i })),
        sets,
        reads,
        systems,
        modes,
        steps,
        segments,
      ],
      grid: [blocksFor(systems * modes, 128), 1, 1],
      block: [128, 1, 1],
    };
    const step: CudaStep = {
      kernel: kernel("dplr_transfer_step", rank),
      args: [{ temp: 0 }, { output: 8 }, systems, modes, parts],
      grid: [systems, 1, 1],
      block: [128, 1, 1],
    };
    return {
      steps: steps === 1 ? [sums, total, step] : [sums, total],
      temps: [DOUBLE * parts * (7 + 2 * rank) * systems * modes],
    };
  },
};
