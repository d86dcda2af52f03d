// Sequences as rows of contiguous time, and the launches that make them (transpose.cu).

import type { CudaStep, CudaWord } from "../cuda-step.ts";
import { further } from "./cuda-tensor-long.ts";
import { tensorKernel } from "./cuda-tensor-plan.ts";

/** Sequences `[B, D, L]` with contiguous time: an address, and the strides of batch and channel. */
export interface Sequences {
  readonly word: CudaWord;
  readonly batch: number;
  readonly channel: number;
}

/** Blocks of a launch along the second and third axis of its grid: half of what these have, so that launches begin at aligned places. */
const MOST_BLOCKS = 32_768;
/** An address, and strides from there. */
type Side = readonly [word: CudaWord, strides: readonly number[]];

/** Elements that a block of transpose.cu takes in either direction. */
const TILE = 64;

/** Launches that bring sequences `[B, L, D]` into rows of time, and back. */
export class RowMaker {
  readonly before: CudaStep[] = [];
  readonly after: CudaStep[] = [];
  private readonly temps: number[];
  private readonly shape: readonly [batch: number, channels: number, length: number];

  constructor(shape: RowMaker["shape"], temps: number[]) {
    this.shape = shape;
    this.temps = temps;
  }

  private newRows(): Sequences {
    const [batch, channels, length] = this.shape;
    const temp = this.temps.push(2 * batch * channels * length) - 1;
    return { word: { temp }, batch: channels * length, channel: length };
  }

  /** `strides`: batch, time, channel. */
  toRows(word: CudaWord, strides: readonly number[]): Sequences {
    const rows = this.newRows();
    const [, channels, length] = this.shape;
    this.before.push(
      ...this.steps([word, strides], [rows.word, [rows.batch, rows.channel]], [length, channels]),
    );
    return rows;
  }

  /** `strides`: batch, time, channel; channels are neighbours. */
  fromRows(word: CudaWord, [batch, time]: readonly number[]): Sequences {
    const rows = this.newRows();
    const [, channels, length] = this.shape;
    this.after.push(
      ...this.steps([rows.word, [rows.batch, rows.channel, 1]], [word, [batch!, time!]], [channels, length]),
    );
    return rows;
  }

  /** Strides of `from`: batch, row, column; of `to`: batch, column (rows are neighbours there). */
  private steps(
    [from, [fromBatch, fromRow, fromColumn]]: Side,
    [to, [toBatch, toColumn]]: Side,
    [rows, columns]: readonly [number, number],
  ): CudaStep[] {
    const [batch] = this.shape;
    const out: CudaStep[] = [];
    // Words: from, to; strides of from (batch, row, column); of to (batch, column); rows, columns.
    for (let first = 0; first < batch; first += MOST_BLOCKS)
      for (let row = 0; row < rows; row += MOST_BLOCKS * TILE) {
        const here = Math.min(rows - row, MOST_BLOCKS * TILE);
        out.push({
          kernel: tensorKernel("transpose", {}, ["transpose"]),
          args: [
            further(from, 2 * (first * fromBatch! + row * fromRow!)),
            further(to, 2 * (first * toBatch! + row)),
            fromBatch!,
            fromRow!,
            fromColumn!,
            toBatch!,
            toColumn!,
            here,
            columns,
          ],
          grid: [Math.ceil(columns / TILE), Math.ceil(here / TILE), Math.min(batch - first, MOST_BLOCKS)],
          block: [256, 1, 1],
        });
      }
    return out;
  }
}
