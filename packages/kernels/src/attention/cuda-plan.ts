// How the wgmma kernels of attention cut a call: tiles, blocks of a multiprocessor, parts. Chosen by when the last block would finish.

import type { CudaTarget } from "../cuda-step.ts";
import type { Sizes } from "./cuda-call.ts";
import { bestParts, finishTime, type TileCost } from "./cuda-parts.ts";
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
  /** Keys up to which it was measured to be of use. */
  readonly upTo?: number;
}

/** Long tiles in turns; many queries over few keys, which are then read once for all; short tiles of one warpgroup, several side by side. */
const NARROW: readonly Cut[] = [
  {
    groups: 3,
    block: 128,
    stages: 3,
    resident: 1,
    held: false,
    registers: [32, 160],
    cost: { step: 1.4, leastStep: 1.4, tile: 2, leastTile: 2 },
  },
  {
    groups: 4,
    block: 64,
    stages: 4,
    resident: 1,
    held: false,
    registers: [24, 112],
    cost: { step: 0.85, leastStep: 0.85, tile: 2.4, leastTile: 2.4 },
    upTo: 1024,
  },
  {
    groups: 1,
    block: 64,
    stages: 3,
    resident: 3,
    held: false,
    registers: [32, 128],
    cost: { step: 0.27, leastStep: 0.55, tile: 0.83, leastTile: 2 },
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
    cost: { step: 1.5, leastStep: 1.5, tile: 2.8, leastTile: 2.8 },
  },
  {
    groups: 3,
    block: 80,
    stages: 2,
    resident: 1,
    held: false,
    registers: [32, 160],
    cost: { step: 1.27, leastStep: 1.27, tile: 4.2, leastTile: 4.2 },
    upTo: 1024,
  },
  {
    groups: 1,
    block: 64,
    stages: 2,
    resident: 2,
    held: true,
    registers: [32, 224],
    cost: { step: 0.56, leastStep: 0.58, tile: 0.9, leastTile: 2 },
  },
];
/** Keys at a time where parts of them are walked, whose rows need no room on their way out. */
const WIDE_PARTS = 80;
/** As many keys as registers hold; over short sequences the edges cost more than that brings. */
const LONG = { from: 4096, block: 144, registers: [24, 240] } as const;

/** Bytes that a multiprocessor reads in a microsecond, and what must be under way for that. */
const READS = 22_000;
/** Estimates closer than this are equal: the larger tiles, which read less, are taken. */
const NEARLY = 0.98;
/** Queries up to which tiles of one warpgroup are best for sequences of given lengths. */
const ENDS_EARLY = 1024;
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
  lengths: boolean,
): ForwardPlan {
  const wide = Math.max(keyDim, valueDim) > 64;
  const cuts = wide ? WIDE : NARROW;
  if (lists) return withoutCost(cuts.at(-1)!, 1);
  // Rows and keys that come from memory and go there.
  const moved = 2 * batch * (heads * queries + keyHeads * keys) * (keyDim + valueDim);
  const atLeast = moved / (READS * target.processors);
  const window = { before: limit(left), after: limit(right) };
  let best: { readonly time: number; readonly cut: Cut; readonly parts: number } | undefined;
  for (const cut of cuts) {
    if (cut.upTo !== undefined && keys > cut.upTo) continue;
    // A warpgroup without queries.
    if (queries <= 64 * (cut.groups - 1)) continue;
    // Sequences that end early leave small tiles for others.
    if (lengths && cut.groups > 1 && queries <= ENDS_EARLY) continue;
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
    const { parts, time: busy } = bestParts(
      { steps, count: batch * heads, processors: target.processors, resident: cut.resident, cost },
      (n) => LAUNCH + (batch * heads * queries * valueDim * 8 * n) / BYTES,
    );
    const time = Math.max(busy, atLeast);
    if (!best || time < NEARLY * best.time) best = { time, cut, parts };
  }
  const { cut, parts } = best!;
  if (!wide) return withoutCost(cut, parts);
  if (cut.groups === 1 && parts > 1) return { ...withoutCost(cut, parts), block: WIDE_PARTS };
  if (cut.groups !== 2 || parts > 1 || keys < LONG.from) return withoutCost(cut, parts);
  return { ...withoutCost(cut, parts), block: LONG.block, registers: LONG.registers };
}

const withoutCost = ({ cost: _cost, upTo: _upTo, ...cut }: Cut, parts: number): ForwardPlan => ({
  ...cut,
  parts,
});

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
  /** Whether a block takes all tiles of its heads, so that dq is its own. */
  readonly whole: boolean;
}

/** What a block that takes all tiles of its heads does about a tile beside its steps: its keys come from memory meanwhile (measured). */
const TILE_OF_WHOLE = { narrow: 5, wide: 11 };
/** Bytes of queries, dy and sums under way from which on they fall out of the cache, those at which all do, and how much longer steps take then. */
const CACHED = { from: 10e6, to: 100e6, slower: 0.78 };
/** How much better it must look where lengths are given: blocks of long sequences end last, and padding costs the other way less. */
const WORTH_OF_WHOLE = { full: 1, lengths: 0.9 };
/** How much longer blocks take that wait for each other. */
const IN_ORDER = 1.3;

/** Into how many parts the tiles of the gradient are cut, or whether blocks take all tiles of their heads. */
export function gradientParts(
  { left, right }: Visibility,
  { batch, heads, keyHeads, queries, keys, keyDim, valueDim, lists }: Sizes,
  target: CudaTarget,
  {
    lengths = false,
    deterministic = false,
  }: { readonly lengths?: boolean; readonly deterministic?: boolean },
): GradientParts {
  if (lists) return { heads: 1, steps: 1, whole: false };
  const wide = Math.max(keyDim, valueDim) > 64 ? "wide" : "narrow";
  const steps = stepsOf(keys, KEYS_OF_TILE, queries, QUERIES_OF_STEP, {
    before: limit(right),
    after: limit(left),
  });
  const share = heads / keyHeads;
  const { processors } = target;
  const work = { steps: steps.map((n) => n * share), count: batch * keyHeads, processors, resident: 1 };
  const extra = (n: number): number =>
    LAUNCH + (batch * keys * keyHeads * (keyDim + valueDim) * 8 * n) / BYTES;
  const { parts } = bestParts({ ...work, cost: GRADIENT[wide] }, extra);
  const even = steps.every((n) => n === steps[0]);
  // As many parts as were estimated where tiles are alike: more would be another round.
  let ofHeads = even ? share : Math.min(share, Math.max(parts, Math.ceil(share / HEADS_IN_STEP)));
  if (even) while (share % ofHeads !== 0 || parts % ofHeads !== 0) ofHeads--;
  else while (share % ofHeads !== 0) ofHeads++;
  const cut = { heads: ofHeads, steps: Math.ceil(parts / ofHeads), whole: false };
  if (keys <= KEYS_OF_TILE) return cut;
  const tile = TILE_OF_WHOLE[wide];
  const { step } = GRADIENT[wide];
  const head = wide === "wide" ? 128 : 64;
  const rowBytes = Math.ceil(queries / QUERIES_OF_STEP) * QUERIES_OF_STEP * head * 8;
  const under = Math.min(processors, work.count) * share * rowBytes;
  const uncached = Math.min(1, Math.max(0, (under - CACHED.from) / (CACHED.to - CACHED.from)));
  const all = work.steps.reduce((a, n) => a + n, 0);
  const one = (s: number, t: number): TileCost => ({ step: s, leastStep: s, tile: t, leastTile: t });
  const ofWhole = finishTime(
    { ...work, steps: [all], cost: one(step * (1 + CACHED.slower * uncached), tile * steps.length) },
    1,
  );
  const count = cut.heads * cut.steps;
  const ofTiles =
    finishTime({ ...work, cost: one(step, tile) }, count) * (deterministic ? IN_ORDER : 1) +
    (count > 1 ? extra(count) : 0) +
    // The sums of dq are cleared before and brought into place behind.
    LAUNCH +
    (batch * heads * rowBytes) / BYTES;
  const worth = WORTH_OF_WHOLE[lengths ? "lengths" : "full"];
  return ofWhole < worth * ofTiles ? { heads: 1, steps: 1, whole: true } : cut;
}
