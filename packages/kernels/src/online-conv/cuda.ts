// CUDA source of one position of an online convolution. A completed block adds its share by plain sums: as many multiply-adds as dot
// products with all inputs so far, each number read once for 16 of them, and at one position in 32 only (README).

import { cudaFile } from "../cuda-file.ts";
import { blocksFor, overTwoAxes, type CudaSource, type CudaStep } from "../cuda-step.ts";
import { ONLINE_BLOCK } from "./block.ts";

/** Outputs of a block of the kernel that adds a share: of a warp, and warps. */
const TILE = 16;
const WARPS = 8;
const BLOCKS_PER_PROCESSOR = 4;

/** `(u, taps, held, clock) -> (y, held)`. */
export const onlineConvCuda: CudaSource<unknown> = {
  lower: ({ inputs }, target) => {
    const [u, taps, held, clock] = inputs;
    if ([u, taps, held].some((v) => v!.dtype !== "f32")) return `no kernel for ${u!.dtype}`;
    if (clock!.dtype !== "i32") return "the clock is no i32";
    const [batch, channels] = u!.shape as [number, number];
    const slots = held!.shape[1]!;
    if (batch * channels === 0) return { steps: [] };
    if (slots === 0) return "no slots";
    const args: CudaStep["args"] = [
      { input: 0 },
      { input: 1 },
      { input: 2 },
      { output: 1 },
      { output: 0 },
      { input: 3 },
      batch,
      slots,
      channels,
    ];
    const step = (entry: string, blocks: number, rows: number, threads: number): CudaStep => ({
      kernel: { key: `online-conv ${entry}`, entry, source: () => cudaFile("online-conv/kernel.cu") },
      args,
      grid: [blocks, ...overTwoAxes(rows)],
      block: [threads, 1, 1],
    });
    const most = BLOCKS_PER_PROCESSOR * target.processors;
    const steps = [
      step("online_copy", Math.min(most, blocksFor(batch * slots * channels, 256)), 1, 256),
      step("online_present", blocksFor(channels, 128), batch, 128),
    ];
    if (slots > ONLINE_BLOCK) {
      const largest = 2 ** Math.floor(Math.log2(slots - 1));
      const items = Math.ceil(largest / (TILE * WARPS)) * Math.ceil(channels / 32) * batch;
      steps.push(step("online_share", Math.min(most, items), 1, 32 * WARPS));
    }
    return { steps };
  },
};
