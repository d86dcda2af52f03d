// The debugging aid that finds the first step whose result is not finite.

import { addressOf, fromBf16Bits, NumericError, show, type Program, writtenBy } from "@everlong/core";
import type { Frame } from "./frame.ts";
import type { SharedMemory } from "./memory.ts";

/** Throws a {@link NumericError} naming the step and the user's line when a float output of the step holds NaN. */
export function checkFinite(memory: SharedMemory, frame: Frame, program: Program, index: number): void {
  const step = program.steps[index]!;
  for (const operand of writtenBy(step)) {
    const { dtype, view } = operand;
    const read = reader(memory, dtype);
    if (!read) continue;
    const start = addressOf(frame, operand);
    const at = view.shape.map(() => 0);
    const size = view.shape.reduce((a, b) => a * b, 1);
    for (let n = 0; n < size; n++) {
      const offset = at.reduce((sum, i, axis) => sum + i * view.strides[axis]!, 0);
      if (Number.isNaN(read(start, offset))) {
        const name = frame.launches.find((l) => l.step === index)?.name ?? step.kind;
        const site = program.sites[index];
        throw new NumericError(
          "nan",
          `step ${index} (${name}) made the first NaN, at ${show(at)} of ${dtype}${show(view.shape)}`,
          {
            hint: site
              ? `It was recorded at ${site}.`
              : "Set EVERLONG_DEBUG=nan before recording, to see the line.",
          },
        );
      }
      for (let axis = at.length - 1; axis >= 0; axis--) {
        if (++at[axis]! < view.shape[axis]!) break;
        at[axis] = 0;
      }
    }
  }
}

function reader(
  memory: SharedMemory,
  dtype: string,
): ((start: number, offset: number) => number) | undefined {
  if (dtype === "f32") {
    const f = new Float32Array(memory.buffer);
    return (start, offset) => f[start / 4 + offset]!;
  }
  if (dtype === "f16") {
    const f = new Float16Array(memory.buffer);
    return (start, offset) => f[start / 2 + offset]!;
  }
  if (dtype === "bf16") {
    const u = new Uint16Array(memory.buffer);
    return (start, offset) => fromBf16Bits(u[start / 2 + offset]!);
  }
  return undefined;
}
