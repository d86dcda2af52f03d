// What the steps of a program read and write.

import { DTYPES, show, type Step, type StepOperand } from "@everlong/core";

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

/** Operands that a step writes. */
export function writtenBy(step: Step): readonly StepOperand[] {
  if (step.kind === "loop") return step.outputs.map((o) => o.operand);
  return step.kind === "reduce" ? [step.output] : step.outputs;
}

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
