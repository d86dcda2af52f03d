// Launches from sequences to rows of long transforms: of both the peaks and the columns at once (tensor-measured.cu) where the second-level cache holds what is
// between them, else of one after the other (tensor-long.cu).

import type { CudaStep, CudaTarget, CudaWord } from "../cuda-step.ts";
import {
  columnStep,
  further,
  peakSteps,
  rowsPer,
  stridesOf,
  type GatedSequences,
  type LongCall,
  type LongPart,
  type Partner,
} from "./cuda-tensor-long.ts";
import { LONG_SOURCES, columnGrid, longFlags, tensorKernel } from "./cuda-tensor-plan.ts";

/** Blocks on a multiprocessor. */
const RESIDENT = 2;
/** Tickets that columns are behind what they wait for, in blocks that run at once: so many that blocks rarely wait. */
const APART = 1.25;
/** Share of the second-level cache that sequences may take between their peaks and their columns. */
const SHARE = 0.35;
/** Tickets are numbered in 32 bits. */
const MOST_TICKETS = 2 ** 31;

/** Bytes of the peaks of the sequences of a round, and of counters behind them. */
export const peakBytes = (batch: number, part: LongPart): number =>
  offsetOfCounters(batch, part) + 4 * (1 + part.count * part.channels);

const offsetOfCounters = (batch: number, { channels }: LongPart): number => 128 * batch * channels;

/** Both at once, or undefined where that does not fit. */
function measuredSteps(
  call: LongCall,
  { of, gate }: GatedSequences,
  peaks: CudaWord,
  rows: CudaWord,
  part: LongPart,
  target: CudaTarget,
  partner: Partner | undefined,
): CudaStep[] | undefined {
  const { plan, dtype, batch, channels, length } = call;
  const { grid, block, sharedBytes = 0 } = columnGrid(plan, channels, part.count);
  const [tickets] = grid;
  // Of every sequence of a transform a block takes 64 bytes a thread.
  const copied = 64 * rowsPer(plan) * block[0];
  const blocks = RESIDENT * target.processors;
  const ahead = tickets + Math.ceil(APART * blocks);
  const transforms = channels * part.count;
  if (
    gate ||
    RESIDENT * (sharedBytes + copied + 4096) > target.sharedLimit ||
    ahead * copied > SHARE * target.cacheBytes ||
    (transforms + 1) * tickets + ahead + blocks > MOST_TICKETS
  )
    return undefined;
  const clear = peakBytes(batch, part) / 4;
  return [
    {
      kernel: tensorKernel("clear_counters", {}, ["counters"]),
      args: [peaks, clear],
      grid: [Math.min(target.processors, Math.ceil(clear / 256)), 1, 1],
      block: [256, 1, 1],
    },
    {
      kernel: tensorKernel(
        "measured_columns",
        longFlags(plan, { BRAIN: dtype === "bf16" ? 1 : 0, PARTNER: partner ? 1 : 0 }),
        [...LONG_SOURCES, "tickets", "tensor-measured"],
      ),
      args: [
        of.word,
        rows,
        peaks,
        further(peaks, offsetOfCounters(batch, part)),
        ...stridesOf(of),
        batch,
        length,
        part.first * rowsPer(plan),
        channels,
        transforms,
        ahead,
        partner?.peaks ?? 0,
        partner?.exponents ?? 0,
      ],
      grid: [Math.min(blocks, transforms * tickets), 1, 1],
      block,
      sharedBytes: sharedBytes + copied,
    },
  ];
}

/** Sequences of a round to rows, with their peaks; `partner`: as for {@link columnStep}. */
export const toRowSteps = (
  call: LongCall,
  from: GatedSequences,
  peaks: CudaWord,
  rows: CudaWord,
  part: LongPart,
  target: CudaTarget,
  partner?: Partner,
): CudaStep[] =>
  measuredSteps(call, from, peaks, rows, part, target, partner) ?? [
    ...peakSteps(call, from, peaks, part),
    columnStep(call, from, peaks, rows, part, partner),
  ];
