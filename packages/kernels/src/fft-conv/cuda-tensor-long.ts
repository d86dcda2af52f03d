// Launches of the passes over columns of transforms that span many blocks (tensor-long.cu).

import type { CudaStep, CudaWord } from "../cuda-step.ts";
import type { Sequences } from "./cuda-rows.ts";
import { columnGrid, longKernel, type TensorPlan } from "./cuda-tensor-plan.ts";

/** Blocks that a grid's third axis has at most, with room. */
const MOST_ROWS = 32_768;

/**
 * Bytes of scratch of one round of launches. Rounds small enough for the second-level cache are slower: their launches are too short (H100,
 * 131,072 points: 3.0 ms in one round, 3.1 to 3.4 ms in rounds of 12 to 48 MB; 1,048,576: 2.4, and 2.6 to 6.5 in rounds of 4 to 32 MB on one to three
 * streams). tensor-flow.cu is for that.
 */
const ROUND = 4 * 1024 ** 3;

/** In place of a sequence that is not there. */
export const nowhere: Sequences = { word: 0, batch: 0, channel: 0 };

export const stridesOf = ({ batch, channel }: Sequences): readonly number[] => [batch, channel];

/** Half-precision sequences of a long transform; in the launches of a round, from its first channel on. */
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

/** Transforms that go through together: some channels, and of each `count` transforms after the first `first`. */
export interface LongPart {
  readonly first: number;
  readonly count: number;
  readonly channel: number;
  readonly channels: number;
}

/** Rows of the batch that share a transform. */
export const rowsPer = ({ paired }: TensorPlan): number => (paired ? 2 : 1);

/** Bytes of the rows of a round's transforms. */
export const rowBytes = (plan: TensorPlan, { count, channels }: LongPart): number =>
  4 * plan.points * count * channels;

/** A call in rounds, each with `copies` scratch buffers: channel by channel where all transforms of one fit. The first round is the largest. */
export function longParts({ plan, batch, channels }: LongCall, copies: number): LongPart[] {
  const groups = Math.ceil(batch / rowsPer(plan));
  const most = Math.max(1, Math.floor(ROUND / (copies * 4 * plan.points)));
  const [count, wide] = most < groups ? [most, 1] : [groups, Math.min(channels, Math.floor(most / groups))];
  const parts: LongPart[] = [];
  for (let channel = 0; channel < channels; channel += wide)
    for (let first = 0; first < groups; first += count)
      parts.push({
        first,
        count: Math.min(count, groups - first),
        channel,
        channels: Math.min(wide, channels - channel),
      });
  return parts;
}

/** An address further on. */
export const further = (word: CudaWord, bytes: number): CudaWord =>
  typeof word === "number" || "f32" in word || "table" in word
    ? word
    : { ...word, byteOffset: (word.byteOffset ?? 0) + bytes };

/** Sequences from a channel on. */
export const fromChannel = <S extends Sequences | undefined>(s: S, channel: number): S =>
  s && { ...s, word: further(s.word, 2 * channel * s.channel) };

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

/** Peaks of the rows of a round. */
export function peakSteps(
  call: LongCall,
  { of, gate }: GatedSequences,
  peaks: CudaWord,
  { first, count }: LongPart,
): CudaStep[] {
  const { plan, batch, channels, length } = call;
  const other = gate ?? nowhere;
  const begin = first * rowsPer(plan);
  const rows = Math.min(batch - begin, count * rowsPer(plan));
  return Array.from({ length: Math.ceil(rows / MOST_ROWS) }, (_, i) => ({
    kernel: longKernel("row_peaks", plan, flagsOf(call, gate)),
    args: [of.word, other.word, peaks, ...stridesOf(of), ...stridesOf(other), length, begin + i * MOST_ROWS],
    grid: [32, channels, Math.min(MOST_ROWS, rows - i * MOST_ROWS)],
    block: [256, 1, 1],
  }));
}

/** The peaks of what the rows' spectra will be multiplied by, and where exponents of units go. */
export interface Partner {
  readonly peaks: CudaWord;
  readonly exponents: CudaWord;
}

/** Sequences to rows. */
export function columnStep(
  call: LongCall,
  { of, gate }: GatedSequences,
  peaks: CudaWord,
  rows: CudaWord,
  { first, count }: LongPart,
  partner?: Partner,
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
