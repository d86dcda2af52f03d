// How the wgmma kernels of attention cut a call: tiles, blocks of a multiprocessor, parts. Chosen by when the last block would finish.

import type { CudaTarget } from "../cuda-step.ts";
import type { Sizes } from "./cuda-call.ts";
import { bestParts, type TileCost } from "./cuda-parts.ts";
import type { Visibility } from "./op.ts";

/** Keys that a tile of the gradient owns, and queries that it takes at a time. */
export const KEYS_OF_TILE = 128;
export const QUERIES_OF_STEP = 64;

/** How the forward pass is cut. */
export interface ForwardPlan {
  /** Warpgroups of a block, of 64 queries each. */
  readonly groups: number;
  /** Keys at a time, and such blocks in flight. */
  readonly block: number;
  readonly stages: number;
  /** Blocks of a multiprocessor. */
  readonly resident: number;
  /** Whether queries stay in registers. */
  readonly held: boolean;
  /** Registers of a thread that copies and of one that computes. */
  readonly registers: readonly [copy: number, product: number];
  readonly parts: number;
}

/** A plan without its parts, and what its steps and tiles take (measured on an H100). */
interface Cut extends Omit<ForwardPlan, "parts"> {
  readonly cost: TileCost;
}

/** Long tiles in turns, and short ones of one warpgroup, several side by side. */
const NARROW: readonly Cut[] = [
  {
    groups: 3,
    block: 128,
    stages: 3,
    resident: 1,
    held: false,
    registers: [32, 160],
    cost: { step: 1.57, leastStep: 1.57, tile: 2, leastTile: 2 },
  },
  {
    groups: 1,
    block: 64,
    stages: 3,
    resident: 3,
    held: false,
    registers: [32, 128],
    cost: { step: 0.335, leastStep: 0.55, tile: 0.7, leastTile: 2.5 },
  },
];
const WIDE: readonly Cut[] = [
  {
    groups: 2,
    block: 128,
    stages: 2,
    resident: 1,
    held: true,
    registers: [40, 232],
    cost: { step: 1.77, leastStep: 1.77, tile: 3.2, leastTile: 3.2 },
  },
  {
    groups: 1,
    block: 80,
    stages: 2,
    resident: 2,
    held: true,
    registers: [32, 224],
    cost: { step: 0.75, leastStep: 0.8, tile: 0.8, leastTile: 2.5 },
  },
];
/** Lists have blocks of 64 keys more often than of 80. */
const WIDE_LISTED: ForwardPlan = {
  groups: 1,
  block: 64,
  stages: 2,
  resident: 2,
  held: true,
  registers: [32, 224],
  parts: 1,
};
/** As many keys as registers hold; over short sequences the edges cost more than that brings. */
const LONG = { from: 4096, block: 144, registers: [24, 240] } as const;

/** Bytes that a multiprocessor reads in a microsecond, and what must be under way for that. */
const READS = 22_000;
const IN_FLIGHT = 64_000;
/** Bytes that parts bring to and from memory in a microsecond, and what one more launch takes. */
const BYTES = 2e6;
const LAUNCH = 4;

/** For each tile of `own` rows of `rows`, how many blocks of `each` of `others` it sees. */
function stepsOf(
  rows: number,
  own: number,
  others: number,
  each: number,
  { before, after }: { readonly before: number; readonly after: number },
): number[] {
  const offset = others - rows;
  return Array.from({ length: Math.ceil(rows / own) }, (_, i) => {
    const from = Math.max(0, i * own + offset - before);
    const to = Math.min(others, Math.min(rows, (i + 1) * own) + offset + after);
    return Math.max(0, Math.ceil(to / each) - Math.floor(from / each));
  });
}

const limit = (n: number): number => (n < 0 ? Infinity : n);

export function forwardPlan(
  { left, right }: Visibility,
  { batch, heads, keyHeads, queries, keys, keyDim, valueDim, lists }: Sizes,
  target: CudaTarget,
): ForwardPlan {
  const wide = Math.max(keyDim, valueDim) > 64;
  if (lists) return wide ? WIDE_LISTED : { ...NARROW[1]!, parts: 1 };
  const window = { before: limit(left), after: limit(right) };
  let best: { readonly time: number; readonly cut: Cut; readonly parts: number } | undefined;
  for (const cut of wide ? WIDE : NARROW) {
    // Longest first.
    const steps = stepsOf(queries, 64 * cut.groups, keys, cut.block, window).reverse();
    // Keys that only one tile reads come from memory.
    const bytes = 2 * cut.block * (keyDim + valueDim);
    const reading = steps.length * heads === keyHeads ? bytes / READS : 0;
    const { step, leastStep } = cut.cost;
    const cost = {
      ...cut.cost,
      step: Math.max(step, reading),
      // One block alone leaves the memory idle where too little is in flight.
      leastStep: Math.max(leastStep, reading * Math.max(1, IN_FLIGHT / (cut.stages * bytes))),
    };
    const { parts, time } = bestParts(
      { steps, count: batch * heads, processors: target.processors, resident: cut.resident, cost },
      (n) => LAUNCH + (batch * heads * queries * valueDim * 8 * n) / BYTES,
    );
    if (!best || time < best.time) best = { time, cut, parts };
  }
  const { cost: _cost, ...cut } = best!.cut;
  const { parts } = best!;
  if (!wide || cut.groups === 1 || parts > 1 || keys < LONG.from) return { ...cut, parts };
  return { ...cut, block: LONG.block, registers: LONG.registers, parts };
}

/** Steps and tiles of the gradient. */
const GRADIENT: Readonly<Record<"narrow" | "wide", TileCost>> = {
  narrow: { step: 1.43, leastStep: 1.43, tile: 2.2, leastTile: 2.2 },
  wide: { step: 2.6, leastStep: 2.6, tile: 3.5, leastTile: 3.5 },
};
/** Heads that share keys, whose gradients add to one tile: where tiles differ in length, more drift apart and out of the cache (measured). */
const HEADS_IN_STEP = 2;

/** Parts of the gradient: of a group's heads, and of the steps of a tile. */
export interface GradientParts {
  readonly heads: number;
  readonly steps: number;
}

/** Into how many parts the tiles of the gradient are cut. */
export function gradientParts(
  { left, right }: Visibility,
  { batch, heads, keyHeads, queries, keys, keyDim, valueDim, lists }: Sizes,
  target: CudaTarget,
): GradientParts {
  if (lists) return { heads: 1, steps: 1 };
  const steps = stepsOf(keys, KEYS_OF_TILE, queries, QUERIES_OF_STEP, {
    before: limit(right),
    after: limit(left),
  });
  const share = heads / keyHeads;
  const { parts } = bestParts(
    {
      steps: steps.map((n) => n * share),
      count: batch * keyHeads,
      processors: target.processors,
      resident: 1,
      cost: GRADIENT[Math.max(keyDim, valueDim) > 64 ? "wide" : "narrow"],
    },
    (n) => LAUNCH + (batch * keys * keyHeads * (keyDim + valueDim) * 8 * n) / BYTES,
  );
  const even = steps.every((n) => n === steps[0]);
  let ofHeads = Math.min(share, Math.max(parts, even ? 1 : Math.ceil(share / HEADS_IN_STEP)));
  while (share % ofHeads !== 0) ofHeads++;
  return { heads: ofHeads, steps: Math.ceil(parts / ofHeads) };
}
