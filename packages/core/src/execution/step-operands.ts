// What the steps of a program read and write.

import type { Operand, Step } from "../device.ts";
import { DTYPES } from "../dtype.ts";
import { show } from "../shape.ts";

/** Operands that a step reads. */
export function readBy(step: Step): readonly Operand[] {
  return step.kind === "loop" || step.kind === "reduce" ? step.args : step.inputs;
}

/** Operands that a step writes. */
export function writtenBy(step: Step): readonly Operand[] {
  if (step.kind === "loop") return step.outputs.map((o) => o.operand);
  return step.kind === "reduce" ? [step.output] : step.outputs;
}

/** All operands of a step, those read first. */
export const operandsOf = (step: Step): Operand[] => [...readBy(step), ...writtenBy(step)];

/** Bytes that a step must at least move: every operand's elements once (repeats of stride 0 not counted). */
export function bytesMoved(step: Step): number {
  return operandsOf(step).reduce((sum, { dtype, view }) => {
    const n = view.shape.reduce((m, size, i) => (view.strides[i] === 0 ? m : m * size), 1);
    return sum + n * DTYPES[dtype].bytes;
  }, 0);
}

/** The index space of a step, for printing. */
export function shapeOf(step: Step): string {
  if (step.kind === "loop" || step.kind === "reduce") return show(step.shape);
  return step.outputs.map((o) => show(o.view.shape)).join(" ");
}
