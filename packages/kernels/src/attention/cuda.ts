// CUDA sources of attention and its gradient. The kernels of this file run on every GPU from sm_80 on and take everything that the
// op defines: any lengths and strides, windows, grouped heads, padding, soft cap and slopes, lists of blocks, heads of 1 to 128, halves and
// float32.

import {
  blocksFor,
  type CudaLowering,
  type CudaSource,
  type CudaStep,
  type CudaTarget,
  type CudaWord,
} from "../cuda-step.ts";
import {
  acceptsHeads,
  BACKWARD_WORDS,
  bytesOfElement,
  fitTiles,
  FORWARD_WORDS,
  headsTogether,
  kernelOf,
  paddedDims,
  plainKernel,
  readCall,
  tilesOf,
  type AttentionCall,
  type Build,
  type ReadCall,
  type Sizes,
} from "./cuda-call.ts";
import { bytesOfParts, joinParts, MOST_PARTS, packedHeads, placesOf } from "./cuda-parts.ts";
import { QUERIES_OF_STEP } from "./cuda-plan.ts";
import { liesStraight, straightened, takeTemp } from "./cuda-rows.ts";
import { wgmmaBackward, wgmmaForward, wgmmaRefusal } from "./cuda-wgmma.ts";
import type { AttentionGradParams, AttentionParams } from "./op.ts";

const MARKS_WORDS = "blockStarts blockColumns marks markWords blockRows blockColumnCount patterns".split(" ");

const WARPS = 4;
const TILE = 16 * WARPS;

const inOrder = (names: readonly string[], words: Readonly<Record<string, CudaWord>>): CudaWord[] =>
  names.map((name) => words[name] ?? 0);

function buildOf(
  call: AttentionCall,
  sizes: Sizes,
  {
    rows,
    block,
    stages,
    parts = false,
  }: Pick<Build, "rows" | "block" | "stages"> & { readonly parts?: boolean },
): Build {
  return {
    dtype: sizes.dtype,
    ...paddedDims(sizes),
    rows,
    block,
    stages,
    cap: call.params.softCap > 0,
    slopes: call.params.inputs.includes("slopes"),
    lists: sizes.lists !== undefined,
    parts,
  };
}

const wideHeads = (sizes: Sizes): boolean => Math.max(sizes.keyDim, sizes.valueDim) > 64;
const bytesOfHead = (sizes: Sizes, length: number): number =>
  length * (sizes.keyDim + sizes.valueDim) * bytesOfElement(sizes);

/** Sequences below these are mostly margins of the tiles of wgmma's gradient; those of narrow heads are wider still. */
const SHORT = { narrow: 65, wide: 24 };
/** Whether wgmma saves more than it takes to copy rows for it. */
const worthCopies = ({ queries, keys }: Sizes): boolean => Math.max(queries, keys) >= 128;
/** Keys below which parts cost more than they bring. */
const KEYS_OF_PART = 256;
function forward(call: AttentionCall, target: CudaTarget): CudaLowering | string {
  const whole = readCall(call);
  if (typeof whole === "string") return whole;
  if (whole.sizes.batch * whole.sizes.heads * whole.sizes.queries === 0) return { steps: [] };
  const straight = liesStraight(call, whole, 1);
  if ((straight || worthCopies(whole.sizes)) && wgmmaRefusal(call, whole, target) === undefined) {
    if (straight) return wgmmaForward(call, whole, target);
    const { read, before, after, frame } = straightened(whole, ["q", "k", "v"], ["dy"]);
    const { steps, temps } = wgmmaForward(call, read, target, frame);
    return { steps: [before, ...steps, after], temps: temps! };
  }
  const read = packedHeads(call, whole);
  const { sizes, words } = read;
  const { heads, queries, keys, lists } = sizes;
  const count = sizes.batch * heads;
  const half = sizes.dtype !== "f32";
  const rows = half && queries >= 8 * TILE && (!lists || lists.queries % (2 * TILE) === 0) ? 2 : 1;
  const tiles = fitTiles(sizes, target, rows, [1, 0], half || !wideHeads(sizes) ? 64 : 32);
  if (typeof tiles === "string") return tiles;
  const blocks = tilesOf(queries, TILE * rows, lists?.queries) * count;
  // Few queries of few heads: blocks share the keys that are seen.
  const idle = Math.floor((2 * target.processors) / blocks);
  const { left, right } = call.params;
  const seen = left < 0 || right < 0 ? keys : Math.min(keys, left + right + queries);
  const parts = lists ? 1 : Math.max(1, Math.min(idle, Math.floor(seen / KEYS_OF_PART), MOST_PARTS));
  const shared = { ...words, ...placesOf(whole.sizes, sizes) };
  const results = { y: { output: 0 }, lse: { output: 1 } };
  const split = parts > 1;
  const step: CudaStep = {
    kernel: kernelOf(
      "attention",
      "kernel-forward.cu",
      FORWARD_WORDS,
      buildOf(call, sizes, { rows, ...tiles, parts: split }),
    ),
    args: inOrder(FORWARD_WORDS, {
      ...shared,
      together: headsTogether(count, bytesOfHead(sizes, keys)),
      ...(split ? { y: { temp: 0 }, lse: { temp: 1 } } : results),
    }),
    grid: [blocks, parts, 1],
    block: [32 * WARPS, 1, 1],
    sharedBytes: tiles.sharedBytes,
  };
  if (!split) return { steps: [step] };
  const joined = { ...shared, ...results, partY: { temp: 0 }, partLse: { temp: 1 } };
  return { steps: [step, joinParts(sizes, joined, parts)], temps: bytesOfParts(sizes, parts) };
}

/** Words of one set of lists of blocks turned round. */
const marksOf = ({ lists, queries, keys }: Sizes): number =>
  lists ? Math.ceil(keys / lists.keys) * Math.ceil(Math.ceil(queries / lists.queries) / 32) : 0;

/** Lists of blocks turned round in a temporary, where there are any: a call that reads them, and the launches that make them. */
function turned(
  call: AttentionCall,
  read: ReadCall,
  temps: number[],
): { readonly read: ReadCall; readonly steps: readonly CudaStep[] } {
  const { lists, queries, keys } = read.sizes;
  if (!lists) return { read, steps: [] };
  const blockRows = Math.ceil(queries / lists.queries);
  const blockColumnCount = Math.ceil(keys / lists.keys);
  const markWords = lists.patterns * marksOf(read.sizes);
  const words = { ...read.words, marks: takeTemp(temps, Math.max(4, markWords * 4)) };
  const args = inOrder(MARKS_WORDS, {
    ...words,
    markWords,
    blockRows,
    blockColumnCount,
    patterns: lists.patterns,
  });
  const step = (entry: string, blocks: number): CudaStep => ({
    kernel: plainKernel(entry, "kernel-marks.cu", MARKS_WORDS, {}),
    args,
    grid: [blocks, 1, 1],
    block: [256, 1, 1],
  });
  return {
    read: { ...read, words },
    steps: [
      step("attention_marks_clear", blocksFor(markWords, 256)),
      step("attention_marks", blocksFor(lists.patterns * blockRows, 8)),
    ],
  };
}

/** Whether wgmma's gradient takes a call; what {@link wgmmaRefusal} refuses aside. */
function gradientFits(call: AttentionCall, { sizes }: ReadCall, straight: boolean): boolean {
  const { lists, queries, keys } = sizes;
  // Blocks of its scratch are blocks of queries, and in what order lists add to them is not known.
  if (lists && (lists.queries % QUERIES_OF_STEP !== 0 || call.params.deterministic)) return false;
  if (!straight) return worthCopies(sizes);
  return Math.max(queries, keys) >= SHORT[Math.max(sizes.keyDim, sizes.valueDim) > 32 ? "wide" : "narrow"];
}

function backward(call: AttentionCall, target: CudaTarget): CudaLowering | string {
  const read = readCall(call);
  if (typeof read === "string") return read;
  const { sizes } = read;
  if (marksOf(sizes) >= 2 ** 31) return "lists whose turned ones have more than 2^31 words";
  const straight = liesStraight(call, read, 3);
  if (gradientFits(call, read, straight) && wgmmaRefusal(call, read, target) === undefined) {
    const copies = straight ? undefined : straightened(read, ["q", "k", "v", "dy"], ["q", "k", "v"]);
    const frame = copies?.frame ?? { outputs: [0, 1, 2].map((output) => ({ output })), temps: [] };
    const marks = turned(call, copies?.read ?? read, frame.temps);
    const { steps } = wgmmaBackward(call, marks.read, target, frame);
    const [before, after] = copies ? [[copies.before], [copies.after]] : [[], []];
    return { steps: [...before, ...marks.steps, ...steps, ...after], temps: frame.temps };
  }
  const temps: number[] = [];
  const marks = turned(call, read, temps);
  const words = {
    ...marks.read.words,
    dq: { output: 0 },
    dk: { output: 1 },
    dv: { output: 2 },
  };
  const largest = wideHeads(sizes) || sizes.dtype === "f32" ? 32 : 64;
  const tiles = fitTiles(sizes, target, 1, [1, 1], largest);
  if (typeof tiles === "string") return tiles;
  const { batch, heads, keyHeads, queries, keys, lists } = sizes;
  const make = (
    [entry, file]: readonly [string, string],
    length: number,
    listed: number | undefined,
    count: number,
    other: number,
  ): CudaStep => ({
    kernel: kernelOf(entry, file, BACKWARD_WORDS, buildOf(call, sizes, { rows: 1, ...tiles })),
    args: inOrder(BACKWARD_WORDS, { ...words, together: headsTogether(count, bytesOfHead(sizes, other)) }),
    grid: [tilesOf(length, TILE, listed) * count, 1, 1],
    block: [32 * WARPS, 1, 1],
    sharedBytes: tiles.sharedBytes,
  });
  const steps: CudaStep[] = [];
  const queryGrad = ["attention_query_grad", "kernel-query-grad.cu"] as const;
  const keyGrad = ["attention_key_grad", "kernel-key-grad.cu"] as const;
  if (batch * heads * queries > 0) steps.push(make(queryGrad, queries, lists?.queries, batch * heads, keys));
  if (batch * keyHeads * keys > 0)
    steps.push(...marks.steps, make(keyGrad, keys, lists?.keys, batch * keyHeads, queries));
  return { steps, temps };
}

/** Of attention and of attention over lists of blocks. */
export const attentionCuda: CudaSource<AttentionParams> = { accepts: acceptsHeads, lower: forward };
export const attentionGradCuda: CudaSource<AttentionGradParams> = { accepts: acceptsHeads, lower: backward };
