// What a program needs of a device's memory, and the error when it does not get it.

import type { BufferSpec, Program } from "../device.ts";
import { DTYPES } from "../dtype.ts";
import { DeviceError } from "../errors.ts";
import { show } from "../shape.ts";
import { showBytes } from "./sizes.ts";
import { writtenBy } from "./step-operands.ts";

/** Bytes held while the program runs: inputs, outputs, constants, and temporaries at their peak. */
export function peakBytes(program: Program): number {
  return program.buffers.reduce((sum, b) => sum + (b.role.kind === "temp" ? 0 : b.bytes), program.arenaBytes);
}

/** The error for a program that does not fit: its peak and its largest buffers. `limit`: bytes that there are. */
export function doesNotFit(device: string, program: Program, limit: number): DeviceError {
  const largest = program.buffers
    .map((spec, index) => ({ spec, index }))
    .sort((a, b) => b.spec.bytes - a.spec.bytes)
    .slice(0, 3)
    .map(({ spec, index }) => `${nameOf(program, spec, index)} ${showBytes(spec.bytes)}`);
  return new DeviceError(device, "the program does not fit the device's memory", {
    expected: `at most ${showBytes(limit)}`,
    got: `a peak of ${showBytes(peakBytes(program))}; largest: ${largest.join(", ")}`,
    hint: "Use a smaller batch, or recompute() for long chains.",
  });
}

function nameOf(program: Program, spec: BufferSpec, index: number): string {
  const { role } = spec;
  const kind = role.kind === "input" || role.kind === "output" ? `${role.kind} ${role.index}` : role.kind;
  const size = spec.bytes / DTYPES[spec.dtype].bytes;
  for (const step of program.steps) {
    const whole = writtenBy(step).find(
      (o) => o.buffer === index && o.view.shape.reduce((a, b) => a * b, 1) === size,
    );
    if (whole) return `${kind} ${spec.dtype}${show(whole.view.shape)}`;
  }
  return `${kind} ${spec.dtype}[${size}]`;
}
