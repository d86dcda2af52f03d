// Few rows on many multiprocessors: heads of a group as rows of one tile, parts of the keys that kernel-parts.cu joins, and how many.

import { blocksFor, type CudaStep, type CudaWord } from "../cuda-step.ts";
import { CPP, plainKernel, type AttentionCall, type ReadCall, type Sizes } from "./cuda-call.ts";

const PARTS_WORDS =
  "queries heads parts valueDim rows partLse partY y yBatch yTime yHead lse lseBatch lseTime lseHead".split(
    " ",
  );

/** As kernel-parts.cu has it. */
export const MOST_PARTS = 64;

/**
 * One query that sees all keys: the heads of a group take the places of its rows, so that keys and values are read once for all of them.
 */
export function packedHeads(call: AttentionCall, read: ReadCall): ReadCall {
  const { sizes, words, views } = read;
  const { heads, keyHeads, queries } = sizes;
  const group = heads / keyHeads;
  if (queries !== 1 || group === 1 || call.params.left >= 0) return read;
  if (sizes.lists || views["slopes"] || views["queryLengths"]) return read;
  const perHead = words["qHead"] as number;
  return {
    views,
    sizes: { ...sizes, heads: keyHeads, queries: group },
    words: {
      ...words,
      heads: keyHeads,
      group: 1,
      queries: group,
      right: words["left"]!,
      qTime: perHead,
      qHead: group * perHead,
    },
  };
}

/** Where the rows of `sizes` (those of {@link packedHeads}) lie in the results of a call. */
export function placesOf(whole: Sizes, sizes: Sizes): Readonly<Record<string, CudaWord>> {
  const { heads, queries, valueDim } = whole;
  return {
    yBatch: queries * heads * valueDim,
    yTime: (sizes.heads === heads ? heads : 1) * valueDim,
    yHead: (heads / sizes.heads) * valueDim,
    lseBatch: heads * queries,
    lseTime: 1,
    lseHead: sizes.queries,
    rows: sizes.batch * sizes.heads,
  };
}

/** Bytes of the results of `parts` parts. */
export function bytesOfParts({ batch, heads, queries, valueDim }: Sizes, parts: number): number[] {
  const rows = batch * heads * queries;
  return [parts * rows * valueDim * 4, parts * rows * 4];
}

/** Joins the parts that lie at `partY` and `partLse` to `y` and `lse`, all among the words. */
export const joinParts = (
  sizes: Sizes,
  words: Readonly<Record<string, CudaWord>>,
  parts: number,
): CudaStep => ({
  kernel: plainKernel("attention_parts", "kernel-parts.cu", PARTS_WORDS, { E: CPP[sizes.dtype] }),
  args: PARTS_WORDS.map((name) => (name === "parts" ? parts : words[name]!)),
  grid: [blocksFor(sizes.batch * sizes.heads * sizes.queries, 4), 1, 1],
  block: [128, 1, 1],
});

const SPLITS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, MOST_PARTS];

/** What steps and tiles take (microseconds): of a multiprocessor that is full, and at the least. */
export interface TileCost {
  readonly step: number;
  readonly leastStep: number;
  readonly tile: number;
  readonly leastTile: number;
}

/** Tiles of so many steps each, every one `count` times, on `processors` with up to `resident` blocks each. */
export interface TileWork {
  readonly steps: readonly number[];
  readonly count: number;
  readonly processors: number;
  readonly resident: number;
  readonly cost: TileCost;
}

/** Until when blocks that draw tiles in order, each cut into `parts`, have finished. */
export function finishTime({ steps, count, processors, resident, cost }: TileWork, parts: number): number {
  const tiles = steps.length * count * parts;
  // Blocks of one multiprocessor slow each other down.
  const together = Math.min(resident, Math.max(1, Math.ceil(tiles / processors)));
  const slots = together * processors;
  const perStep = Math.max(cost.leastStep, cost.step * together);
  const perTile = Math.max(cost.leastTile, cost.tile * together);
  const times = steps.map((n) => perTile + (n / parts) * perStep);
  const longest = Math.max(...times);
  if (Math.min(...times) === longest) return Math.ceil(tiles / slots) * longest;
  const total = times.reduce((a, t) => a + t, 0) * count * parts;
  if (tiles > 4 * slots) return total / slots + longest / 2;
  const ends = new Float64Array(slots);
  for (const time of times)
    for (let i = 0; i < count * parts; i++) {
      let free = 0;
      for (let s = 1; s < slots; s++) if (ends[s]! < ends[free]!) free = s;
      ends[free]! += time;
    }
  return ends.reduce((a, t) => Math.max(a, t), 0);
}

/** Estimates closer than this are equal. */
const WORTH = 0.95;

/** In how many parts tiles are done first; `extra` is what parts take beside the tiles. */
export function bestParts(
  work: TileWork,
  extra: (parts: number) => number,
): { readonly parts: number; readonly time: number } {
  let best = { parts: 1, time: finishTime(work, 1) };
  // Enough tiles keep everyone busy.
  if (work.steps.length * work.count >= 4 * work.resident * work.processors) return best;
  const most = Math.max(...work.steps);
  for (const parts of SPLITS) {
    if (parts === 1 || parts > most) continue;
    const time = finishTime(work, parts) + extra(parts);
    if (time < WORTH * best.time) best = { parts, time };
  }
  return best;
}
