// Sequences as rows of contiguous time, and the launches that make them (transpose.cu).

import type { CudaStep, CudaWord } from "../cuda-step.ts";
import { tensorKernel } from "./cuda-tensor-plan.ts";

/** Sequences `[B, D, L]` with contiguous time: an address, and the strides of batch and channel. */
export interface Sequences {
  readonly word: CudaWord;
  readonly batch: number;
  readonly channel: number;
}

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
      this.step([
        word,
        rows.word,
        strides[0]!,
        strides[1]!,
        strides[2]!,
        rows.batch,
        length,
        length,
        channels,
      ]),
    );
    return rows;
  }

  fromRows(word: CudaWord): Sequences {
    const rows = this.newRows();
    const [, channels, length] = this.shape;
    this.after.push(
      this.step([rows.word, word, rows.batch, length, 1, channels * length, channels, channels, length]),
    );
    return rows;
  }

  // Words: from, to; strides of from (batch, row, column); of to (batch, column); rows, columns.
  private step(args: readonly CudaWord[]): CudaStep {
    const [rows, columns] = args.slice(-2) as number[];
    return {
      kernel: tensorKernel("transpose", {}, ["transpose"]),
      args,
      grid: [Math.ceil(columns! / TILE), Math.ceil(rows! / TILE), this.shape[0]],
      block: [256, 1, 1],
    };
  }
}
