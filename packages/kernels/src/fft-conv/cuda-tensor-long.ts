// Launches of the passes over columns of transforms that span many blocks (tensor-long.cu).

import type { CudaStep, CudaWord } from "../cuda-step.ts";
import type { Sequences } from "./cuda-rows.ts";
import { columnGrid, longKernel, type TensorPlan } from "./cuda-tensor-plan.ts";

/** Blocks that a grid's third axis has at most, with room. */
export const MOST_ROWS = 32_768;

/** Bytes of the rows of long transforms; larger batches go through in parts. */
const MOST_SCRATCH = 4 * 1024 ** 3;

/** In place of a sequence that is not there. */
export const nowhere: Sequences = { word: 0, batch: 0, channel: 0 };

export const stridesOf = ({ batch, channel }: Sequences): readonly number[] => [batch, channel];

/** Half-precision sequences of a long transform. */
export interface LongCall {
  readonly plan: TensorPlan;
  readonly dtype: "f16" | "bf16";
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
}

/** Sequences, and what they are multiplied by. */
export interface GatedSequences {
  readonly of: Sequences;
  readonly gate: Sequences | undefined;
}

/** Transforms that go through together, `first` of them done before. */
export interface LongPart {
  readonly first: number;
  readonly count: number;
}

/** Rows of the batch that share a transform. */
export const rowsPer = ({ paired }: TensorPlan): number => (paired ? 2 : 1);

/** Bytes of the rows of one transform of every channel. */
export const rowBytes = ({ plan, channels }: LongCall): number => 4 * channels * plan.points;

/** The transforms of a call in parts whose `copies` scratch buffers are not too large. */
export function longParts(call: LongCall, copies: number): LongPart[] {
  const groups = Math.ceil(call.batch / rowsPer(call.plan));
  const most = Math.max(1, Math.min(groups, MOST_ROWS, Math.floor(MOST_SCRATCH / (copies * rowBytes(call)))));
  return Array.from({ length: Math.ceil(groups / most) }, (_, i) => ({
    first: i * most,
    count: Math.min(most, groups - i * most),
  }));
}

/** Rows of long transforms as sequences: two to a transform, the real and the imaginary part. */
export const rowsIn = (word: CudaWord, { plan, channels }: LongCall): Sequences => ({
  word,
  batch: channels * plan.points,
  channel: plan.points / plan.split,
});

const flagsOf = ({ dtype }: LongCall, gate: Sequences | undefined): { BRAIN: number; PRE: number } => ({
  BRAIN: dtype === "bf16" ? 1 : 0,
  PRE: gate ? 1 : 0,
});

/** Bytes of the peaks of all rows. */
export const peakBytes = ({ batch, channels }: LongCall): number => 128 * batch * channels;

export function peakSteps(call: LongCall, { of, gate }: GatedSequences, peaks: CudaWord): CudaStep[] {
  const { plan, batch, channels, length } = call;
  const other = gate ?? nowhere;
  return Array.from({ length: Math.ceil(batch / MOST_ROWS) }, (_, i) => ({
    kernel: longKernel("row_peaks", plan, flagsOf(call, gate)),
    args: [of.word, other.word, peaks, ...stridesOf(of), ...stridesOf(other), length, i * MOST_ROWS],
    grid: [32, channels, Math.min(MOST_ROWS, batch - i * MOST_ROWS)],
    block: [256, 1, 1],
  }));
}

/** Sequences to rows. `partner`: the peaks of what the rows' spectra will be multiplied by, and where exponents of units go. */
export function columnStep(
  call: LongCall,
  { of, gate }: GatedSequences,
  peaks: CudaWord,
  rows: CudaWord,
  { first, count }: LongPart,
  partner?: { readonly peaks: CudaWord; readonly exponents: CudaWord },
): CudaStep {
  const { plan, batch, channels, length } = call;
  const other = gate ?? nowhere;
  return {
    kernel: longKernel("columns_half", plan, { ...flagsOf(call, gate), PARTNER: partner ? 1 : 0 }),
    args: [
      of.word,
      other.word,
      peaks,
      rows,
      ...stridesOf(of),
      ...stridesOf(other),
      batch,
      length,
      first * rowsPer(plan),
      partner?.peaks ?? 0,
      partner?.exponents ?? 0,
    ],
    ...columnGrid(plan, channels, count),
  };
}

/** Rows to sequences, times a gate; `gains`: units of the filters' spectra. */
export function columnBackStep(
  call: LongCall,
  from: { readonly rows: CudaWord; readonly peaks: CudaWord; readonly gains: CudaWord },
  { of, gate }: GatedSequences,
  { first, count }: LongPart,
): CudaStep {
  const { plan, dtype, batch, channels, length } = call;
  const other = gate ?? nowhere;
  return {
    kernel: longKernel("columns_back_half", plan, {
      BRAIN: dtype === "bf16" ? 1 : 0,
      POST: gate ? 1 : 0,
    }),
    args: [
      from.rows,
      from.peaks,
      from.gains,
      other.word,
      of.word,
      ...stridesOf(other),
      ...stridesOf(of),
      batch,
      length,
      first * rowsPer(plan),
    ],
    ...columnGrid(plan, channels, count),
  };
}
