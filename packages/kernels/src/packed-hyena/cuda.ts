// CUDA sources of Hyena's recurrence for short sequences in half precision.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import { blocksFor, type CudaCall, type CudaSource, type CudaStep, type CudaWord } from "../cuda-step.ts";
import type { PackedHyenaInput, PackedHyenaParams } from "./op.ts";

const [TIME, CHANNELS, ROWS] = [128, 8, 16];
/** Bytes of one signal of a block, and of its filters. */
const SIGNAL_BYTES = CHANNELS * ROWS * (TIME / 2 + 4) * 4;
const TABLE_BYTES = CHANNELS * (TIME + 16) * 4;
const SCRATCH_BYTES = CHANNELS * 16 * 128 * 4;

interface Plan {
  readonly sizes: readonly [batch: number, time: number, channels: number, taps: number];
  readonly input: (name: PackedHyenaInput) => CudaWord;
  /** Blocks along the batch, and in all. */
  readonly rows: number;
  readonly blocks: number;
  readonly kernel: (entry: string) => CudaStep["kernel"];
  readonly empty: boolean;
}

function plan({ inputs, params }: CudaCall<PackedHyenaParams>): Plan | string {
  const at = (name: PackedHyenaInput): number => params.inputs.indexOf(name);
  const u = inputs[at("u")]!;
  const [batch, time, width] = u.shape as [number, number, number];
  const channels = width / 3;
  const { dtype } = u;
  if (dtype !== "f16" && dtype !== "bf16") return `no kernel for ${dtype}`;
  if (time > TIME) return `${time} positions: at most ${TIME}`;
  if (channels % CHANNELS !== 0) return `${channels} channels: only multiples of ${CHANNELS}`;
  const head = `typedef ${cudaType[dtype]} E;\n#define MMA "${dtype}"`;
  return {
    sizes: [batch, time, channels, inputs[at("k")]!.shape[0]!],
    input: (name) => (at(name) < 0 ? 0 : { input: at(name) }),
    rows: blocksFor(batch, ROWS),
    blocks: (channels / CHANNELS) * blocksFor(batch, ROWS),
    empty: batch * time * channels === 0,
    kernel: (entry) => ({
      key: `${entry} ${head}`,
      entry,
      source: () => [head, cudaFile("tensor-cores.cu"), cudaFile("packed-hyena/kernel.cu")].join("\n"),
    }),
  };
}

export const packedHyenaCuda: CudaSource<PackedHyenaParams> = {
  alignment: () => 16,
  lower: (call) => {
    const p = plan(call);
    if (typeof p === "string") return p;
    if (p.empty) return { steps: [] };
    return {
      steps: [
        {
          kernel: p.kernel("packed_hyena"),
          args: [p.input("u"), p.input("k"), p.input("skip"), { output: 0 }, ...p.sizes],
          grid: [p.blocks, 1, 1],
          block: [256, 1, 1],
          sharedBytes: SIGNAL_BYTES + TABLE_BYTES,
          blockFunction: "packed_hyena_block",
        },
      ],
    };
  },
};

export const packedHyenaGradCuda: CudaSource<PackedHyenaParams> = {
  alignment: () => 16,
  lower: (call, target) => {
    const p = plan(call);
    if (typeof p === "string") return p;
    if (p.empty) return "nothing to sum over";
    const [, , channels, taps] = p.sizes;
    const sharedBytes = 2 * SIGNAL_BYTES + TABLE_BYTES + SCRATCH_BYTES;
    if (sharedBytes > target.sharedLimit)
      return `needs ${sharedBytes} bytes of shared memory a block, the GPU has ${target.sharedLimit}`;
    const { rows } = p;
    return {
      steps: [
        {
          kernel: p.kernel("packed_hyena_grad"),
          args: [...(["u", "k", "skip", "dy"] as const).map(p.input), { output: 0 }, { temp: 0 }, ...p.sizes],
          grid: [p.blocks, 1, 1],
          block: [256, 1, 1],
          sharedBytes,
          blockFunction: "packed_hyena_grad_block",
        },
        {
          kernel: p.kernel("packed_hyena_sums"),
          args: [
            { temp: 0 },
            { output: 1 },
            call.outputs.length > 2 ? { output: 2 } : 0,
            rows,
            taps,
            channels,
          ],
          grid: [blocksFor(taps * channels, 256), 1, 1],
          block: [256, 1, 1],
          blockFunction: "packed_hyena_sums_block",
        },
      ],
      temps: [4 * rows * TIME * channels],
    };
  },
};
