// How the wgmma kernels of attention cut a call: tiles, blocks of a multiprocessor, parts. Chosen by when the last block would finish.

import type { CudaTarget } from "../cuda-step.ts";
import type { Sizes } from "./cuda-call.ts";
import { bestParts } from "./cuda-parts.ts";
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

/** A plan without its parts, and what its steps and tiles take (measured on an H100, microseconds). */
interface Cut extends Omit<ForwardPlan, "parts"> {
  readonly perStep: number;
  readonly perTile: number;
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
    perStep: 1.57,
    perTile: 1.5,
  },
  {
    groups: 1,
    block: 80,
    stages: 2,
    resident: 3,
    held: false,
    registers: [32, 128],
    perStep: 1.1,
    perTile: 2,
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
    perStep: 1.77,
    perTile: 1.8,
  },
  {
    groups: 1,
    block: 80,
    stages: 2,
    resident: 2,
    held: true,
    registers: [32, 224],
    perStep: 1.35,
    perTile: 2,
  },
];
/** As many keys as registers hold; over short sequences the edges cost more than that brings. */
const LONG = { from: 4096, block: 144 };

/** Bytes that parts bring to and from memory in a microsecond, and what one more launch takes. */
const BYTES = 2.5e6;
const LAUNCH = 2.5;

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
  { batch, heads, queries, keys, keyDim, valueDim }: Sizes,
  target: CudaTarget,
): ForwardPlan {
  const wide = Math.max(keyDim, valueDim) > 64;
  let best: { readonly time: number; readonly cut: Cut; readonly parts: number } | undefined;
  for (const cut of wide ? WIDE : NARROW) {
    const { parts, time } = bestParts(
      {
        // Longest first.
        steps: stepsOf(queries, 64 * cut.groups, keys, cut.block, {
          before: limit(left),
          after: limit(right),
        }).reverse(),
        count: batch * heads,
        slots: cut.resident * target.processors,
        perStep: cut.perStep,
        perTile: cut.perTile,
      },
      (n) => LAUNCH + (batch * heads * queries * valueDim * 8 * n) / BYTES,
    );
    if (!best || time < best.time) best = { time, cut, parts };
  }
  const { perStep: _step, perTile: _tile, ...cut } = best!.cut;
  const block = wide && cut.groups > 1 && keys >= LONG.from ? LONG.block : cut.block;
  return { ...cut, block, parts: best!.parts };
}

/** Steps and tiles of the gradient, microseconds. */
const GRADIENT = { narrow: { perStep: 1.43, perTile: 2.5 }, wide: { perStep: 2.6, perTile: 4 } };

/** Parts of the gradient: of a group's heads, and of the steps of a tile. */
export interface GradientParts {
  readonly heads: number;
  readonly steps: number;
}

/** Into how many parts the tiles of the gradient are cut. */
export function gradientParts(
  { left, right }: Visibility,
  { batch, heads, keyHeads, queries, keys, keyDim, valueDim }: Sizes,
  target: CudaTarget,
): GradientParts {
  const steps = stepsOf(keys, KEYS_OF_TILE, queries, QUERIES_OF_STEP, {
    before: limit(right),
    after: limit(left),
  });
  const share = heads / keyHeads;
  const { parts } = bestParts(
    {
      steps: steps.map((n) => n * share),
      count: batch * keyHeads,
      slots: target.processors,
      ...GRADIENT[Math.max(keyDim, valueDim) > 64 ? "wide" : "narrow"],
    },
    (n) => LAUNCH + (batch * keys * keyHeads * (keyDim + valueDim) * 8 * n) / BYTES,
  );
  let ofHeads = Math.min(share, parts);
  while (share % ofHeads !== 0) ofHeads--;
  return { heads: ofHeads, steps: Math.ceil(parts / ofHeads) };
}
