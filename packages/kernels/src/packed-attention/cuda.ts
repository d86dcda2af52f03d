// CUDA sources of attention from a joint projection: small heads in half precision whose sequence fits in the shared memory of a block.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import {
  twoCounts,
  type CudaCall,
  type CudaSource,
  type CudaStep,
  type CudaTarget,
  type CudaWord,
} from "../cuda-step.ts";
import { named } from "../inputs.ts";
import type { PackedAttentionGradParams, PackedAttentionParams } from "./op.ts";

/** No limit of a window; twice this still fits. */
const UNLIMITED = 2 ** 29;

interface Plan {
  readonly step: (entry: string, args: readonly CudaWord[], sharedBytes: number) => CudaStep;
  readonly input: (name: string) => CudaWord;
  readonly size: number;
  readonly padded: number;
  readonly heads: number;
  /** Heads of a block. */
  readonly together: number;
  /** Time, padded time, heads, left, right, scale; the batch where it is beyond a grid's second axis. */
  readonly settings: readonly CudaWord[];
  readonly empty: boolean;
}

function plan({
  inputs,
  params,
}: CudaCall<PackedAttentionParams | PackedAttentionGradParams>): Plan | string {
  const names = params.inputs as readonly string[];
  const { qkv, cos } = named(names, inputs);
  const [batch, time, , heads, size] = qkv!.shape as [number, number, number, number, number];
  const { dtype } = qkv!;
  if (dtype !== "f16" && dtype !== "bf16") return `no kernel for ${dtype}`;
  if (size !== 8 && size !== 16) return `heads of ${size} features: only 8 and 16`;
  if (!(params.scale > 0)) return "a scale that is not positive";
  const together = heads % 2 === 0 ? 2 : 1;
  const padded = Math.max(16, Math.ceil(time / 16) * 16);
  const { folded, axes } = twoCounts(batch, 1);
  const head = [
    `#define FOLDED ${folded ? 1 : 0}`,
    `typedef ${cudaType[dtype]} E;`,
    `#define MMA "${dtype}"`,
    `#define SIZE ${size}`,
    `#define HEADS ${together}`,
    `#define HALF ${cos?.shape[1] ?? 0}`,
    `#define INTERLEAVED ${params.interleaved ? 1 : 0}`,
  ].join("\n");
  return {
    size,
    padded,
    heads,
    together,
    empty: batch * time * heads === 0,
    input: (name) => {
      const input = names.indexOf(name);
      return input < 0 ? 0 : { input };
    },
    settings: [
      time,
      padded,
      heads,
      params.left < 0 ? UNLIMITED : Math.min(params.left, UNLIMITED),
      params.right < 0 ? UNLIMITED : Math.min(params.right, UNLIMITED),
      { f32: params.scale },
      ...(folded ? [batch] : []),
    ],
    step: (entry, args, sharedBytes) => ({
      kernel: {
        key: `packed attention ${entry} ${head}`,
        entry,
        source: () => [head, cudaFile("tensor-cores.cu"), cudaFile("packed-attention/kernel.cu")].join("\n"),
      },
      args,
      grid: [heads / together, ...axes],
      block: [64 * together, 1, 1],
      sharedBytes,
    }),
  };
}

const tooLarge = (bytes: number, target: CudaTarget): string | undefined =>
  bytes > target.sharedLimit
    ? `needs ${bytes} bytes of shared memory a block, the GPU has ${target.sharedLimit}`
    : undefined;

export const packedAttentionCuda: CudaSource<PackedAttentionParams> = {
  alignment: () => 16,
  lower: (call, target) => {
    const p = plan(call);
    if (typeof p === "string") return p;
    if (p.empty) return { steps: [] };
    const bytes = p.together * 3 * p.padded * p.size * 2;
    const args = [
      p.input("qkv"),
      p.input("cos"),
      p.input("sin"),
      { output: 0 },
      { output: 1 },
      ...p.settings,
    ];
    return tooLarge(bytes, target) ?? { steps: [p.step("packed_attention", args, bytes)] };
  },
};

export const packedAttentionGradCuda: CudaSource<PackedAttentionGradParams> = {
  alignment: () => 16,
  lower: (call, target) => {
    const p = plan(call);
    if (typeof p === "string") return p;
    if (p.empty) return { steps: [] };
    // Four half matrices, two sums of the query's gradient, two numbers a row; and a place for 16 keys of each of two warps.
    const bytes = p.together * (p.padded * (4 * p.size * 2 + 2 * p.size * 4 + 8) + 2 * 32 * p.size * 4);
    const args = [...["qkv", "cos", "sin", "y", "dy", "lse"].map(p.input), { output: 0 }, ...p.settings];
    return tooLarge(bytes, target) ?? { steps: [p.step("packed_attention_grad", args, bytes)] };
  },
};
