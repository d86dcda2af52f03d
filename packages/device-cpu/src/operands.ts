// What the steps of a program read and write.

import { DTYPES, show, type Step } from "@everlong/core";
import type { Frame } from "./frame.ts";
import type { StepOperand } from "./kernel-step.ts";

/** All operands of a step. */
export function operandsOf(step: Step): StepOperand[] {
  switch (step.kind) {
    case "loop":
      return [...step.args, ...step.outputs.map((o) => o.operand)];
    case "reduce":
      return [...step.args, step.output];
    default:
      return [...step.inputs, ...step.outputs];
  }
}

/** Byte address of an operand's first element. */
export const addressOf = (frame: Frame, o: StepOperand): number =>
  frame.addresses[o.buffer]! + o.view.offset * DTYPES[o.dtype].bytes;

/** Operands that a step writes. */
export function writtenBy(step: Step): readonly StepOperand[] {
  if (step.kind === "loop") return step.outputs.map((o) => o.operand);
  return step.kind === "reduce" ? [step.output] : step.outputs;
}

/** Bytes that a step must at least move: every operand's elements once (repeats of stride 0 not counted). */
export function bytesMoved(step: Step): number {
  return operandsOf(step).reduce((sum, { dtype, view }) => {
    const n = view.shape.reduce((m, size, i) => (view.strides[i] === 0 ? m : m * size), 1);
    return sum + n * ({ f64: 8, f32: 4, i32: 4, f16: 2, bf16: 2, u8: 1, bool: 1 } as const)[dtype];
  }, 0);
}

/** The index space of a step, for printing. */
export function shapeOf(step: Step): string {
  if (step.kind === "loop" || step.kind === "reduce") return show(step.shape);
  return step.outputs.map((o) => show(o.view.shape)).join(" ");
}
