// A program while it is being written: its buffers, its steps, and which value lies where.

import type { Operand, Step, View } from "../device.ts";
import type { DType, TypedArray } from "../dtype.ts";
import type { Node } from "../graph.ts";
import { bytesOf } from "../rules/shape.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { contiguousView } from "../view.ts";
import { LoopBuilder } from "./loop-builder.ts";
import { keyOf, type Analysis } from "./values.ts";

/** A buffer while scheduling; temporaries get their offset from the memory plan. */
export interface DraftBuffer {
  readonly bytes: number;
  readonly dtype: DType;
  role:
    | { kind: "input"; index: number }
    | { kind: "output"; index: number }
    | { kind: "temp" }
    | { kind: "constant"; data: TypedArray };
}

export interface DraftStep {
  step: Step;
  readonly epoch: number;
  readonly site: string | undefined;
}

interface Extent {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

export class Draft {
  readonly buffers: DraftBuffer[] = [];
  readonly steps: DraftStep[] = [];
  readonly #epoch: Analysis["epoch"];
  readonly #home = new Map<string, number>();
  /** The node whose steps are being written; they carry its epoch and source line. */
  current: Node | undefined;

  constructor(epoch: Analysis["epoch"]) {
    this.#epoch = epoch;
  }

  /** The buffer of a value, if it has one. */
  home(t: Tensor): number | undefined {
    return this.#home.get(keyOf(t));
  }

  has(t: Tensor): boolean {
    return this.#home.has(keyOf(t));
  }

  /** A new buffer that is not any value's home. */
  buffer(extent: Extent, role: DraftBuffer["role"] = { kind: "temp" }): number {
    return this.buffers.push({ bytes: bytesOf(extent), dtype: extent.dtype, role }) - 1;
  }

  /** Gives a value a new buffer, whole and contiguous. */
  place(t: Tensor, role?: DraftBuffer["role"]): Operand {
    const buffer = this.buffer(t, role);
    this.#home.set(keyOf(t), buffer);
    return { buffer, dtype: t.dtype, view: contiguousView(t.shape) };
  }

  emit(step: Step): void {
    const node = this.current;
    this.steps.push({ step, epoch: (node && this.#epoch.get(node)) ?? 0, site: node?.site });
  }

  /** Writes instruction `value` of a loop into `operand`. */
  loop(builder: LoopBuilder, value: number, operand: Operand): void {
    const { shape, args, code } = builder;
    if (sizeOf(shape) === 0) return;
    this.emit({ kind: "loop", shape, args, code, outputs: [{ operand, value }] });
  }

  /** A contiguous copy of a view of a buffer. */
  copy(buffer: number, dtype: DType, view: View): number {
    const builder = new LoopBuilder(view.shape);
    const value = builder.load({ buffer, dtype, view });
    const copy = this.buffer({ shape: view.shape, dtype });
    this.loop(builder, value, { buffer: copy, dtype, view: contiguousView(view.shape) });
    return copy;
  }
}
