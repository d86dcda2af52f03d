// CUDA sources of attention and its gradient. The kernels of this file run on every GPU from sm_80 on and take everything that the
// op defines: any lengths and strides, windows, grouped heads, padding, soft cap and slopes, heads of 1 to 128, halves and float32.

import type { CudaLowering, CudaSource, CudaStep, CudaTarget, CudaWord } from "../cuda-step.ts";
import {
  acceptsHeads,
  BACKWARD_WORDS,
  bytesOfElement,
  fitTiles,
  FORWARD_WORDS,
  headsTogether,
  kernelOf,
  paddedDims,
  readCall,
  type AttentionCall,
  type Build,
  type Sizes,
} from "./cuda-call.ts";
import { wgmmaBackward, wgmmaForward, wgmmaRefusal } from "./cuda-wgmma.ts";
import type { AttentionGradParams, AttentionParams } from "./op.ts";

const WARPS = 4;
const TILE = 16 * WARPS;

const inOrder = (names: readonly string[], words: Readonly<Record<string, CudaWord>>): CudaWord[] =>
  names.map((name) => words[name] ?? 0);

function buildOf(call: AttentionCall, sizes: Sizes, rows: number, block: number, stages: number): Build {
  const slopes = call.params.inputs.includes("slopes");
  return {
    dtype: sizes.dtype,
    ...paddedDims(sizes),
    rows,
    block,
    stages,
    cap: call.params.softCap > 0,
    slopes,
  };
}

const wideHeads = (sizes: Sizes): boolean => Math.max(sizes.keyDim, sizes.valueDim) > 64;
const bytesOfHead = (sizes: Sizes, length: number): number =>
  length * (sizes.keyDim + sizes.valueDim) * bytesOfElement(sizes);

function forward(call: AttentionCall, target: CudaTarget): CudaLowering | string {
  const read = readCall(call);
  if (typeof read === "string") return read;
  const { sizes, words } = read;
  const count = sizes.batch * sizes.heads;
  if (count * sizes.queries === 0) return { steps: [] };
  if (wgmmaRefusal(call, read, target) === undefined) return { steps: [wgmmaForward(call, read, target)] };
  const half = sizes.dtype !== "f32";
  const rows = half && sizes.queries >= 8 * TILE ? 2 : 1;
  const tiles = fitTiles(sizes, target, rows, [1, 0], half || !wideHeads(sizes) ? 64 : 32);
  if (typeof tiles === "string") return tiles;
  const step: CudaStep = {
    kernel: kernelOf(
      "attention",
      "kernel-forward.cu",
      FORWARD_WORDS,
      buildOf(call, sizes, rows, tiles.block, tiles.stages),
    ),
    args: inOrder(FORWARD_WORDS, {
      ...words,
      together: headsTogether(count, bytesOfHead(sizes, sizes.keys)),
      y: { output: 0 },
      lse: { output: 1 },
    }),
    grid: [Math.ceil(sizes.queries / (TILE * rows)) * count, 1, 1],
    block: [32 * WARPS, 1, 1],
    sharedBytes: tiles.sharedBytes,
  };
  return { steps: [step] };
}

function backward(call: AttentionCall, target: CudaTarget): CudaLowering | string {
  const read = readCall(call);
  if (typeof read === "string") return read;
  const { sizes } = read;
  if (wgmmaRefusal(call, read, target) === undefined) return wgmmaBackward(call, read, target);
  const words = { ...read.words, dq: { output: 0 }, dk: { output: 1 }, dv: { output: 2 } };
  const largest = wideHeads(sizes) || sizes.dtype === "f32" ? 32 : 64;
  const tiles = fitTiles(sizes, target, 1, [1, 1], largest);
  if (typeof tiles === "string") return tiles;
  const make = (entry: string, file: string, length: number, count: number, other: number): CudaStep => ({
    kernel: kernelOf(entry, file, BACKWARD_WORDS, buildOf(call, sizes, 1, tiles.block, tiles.stages)),
    args: inOrder(BACKWARD_WORDS, { ...words, together: headsTogether(count, bytesOfHead(sizes, other)) }),
    grid: [Math.ceil(length / TILE) * count, 1, 1],
    block: [32 * WARPS, 1, 1],
    sharedBytes: tiles.sharedBytes,
  });
  const { batch, heads, keyHeads, queries, keys } = sizes;
  const steps: CudaStep[] = [];
  if (batch * heads * queries > 0)
    steps.push(make("attention_query_grad", "kernel-query-grad.cu", queries, batch * heads, keys));
  if (batch * keyHeads * keys > 0)
    steps.push(make("attention_key_grad", "kernel-key-grad.cu", keys, batch * keyHeads, queries));
  return { steps };
}

export const attentionCuda: CudaSource<AttentionParams> = { accepts: acceptsHeads, lower: forward };
export const attentionGradCuda: CudaSource<AttentionGradParams> = { accepts: acceptsHeads, lower: backward };
