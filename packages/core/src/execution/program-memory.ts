// What a program needs of a device's memory, and the error when it does not get it.

import type { BufferSpec, Program } from "../device.ts";
import { DTYPES } from "../dtype.ts";
import { DeviceError } from "../errors.ts";
import { show } from "../shape.ts";
import { showBytes } from "./sizes.ts";
import { writtenBy } from "./step-operands.ts";

/** What a program needs as its device laid it out. */
export interface ProgramNeed {
  /** Bytes that are held at its peak. */
  readonly peak: number;
  /** Memory for the kernels of a step, which is no buffer of the program. */
  readonly scratch?: readonly { readonly name: string; readonly bytes: number }[];
}

/**
 * Bytes held while the program runs: inputs, outputs that take over no input's memory, constants, and temporaries at their peak.
 *
 * @param arenaBytes of temporaries, where the device needs others than the program
 * @param rounded what the device takes for a number of bytes
 */
export function peakBytes(
  program: Program,
  arenaBytes: number = program.arenaBytes,
  rounded: (bytes: number) => number = (bytes) => bytes,
): number {
  return program.buffers.reduce(
    (sum, { role, bytes }) => {
      const isShared =
        role.kind === "temp" || (role.kind === "output" && program.donated[role.index] !== undefined);
      return sum + (isShared ? 0 : rounded(bytes));
    },
    arenaBytes === 0 ? 0 : rounded(arenaBytes),
  );
}

/**
 * The error for a program that does not fit: its peak, and the largest buffers and scratch memories.
 *
 * @param limit bytes that there are for it, those among them that are held for it already
 */
export function doesNotFit(
  device: string,
  program: Program,
  limit: number,
  { peak, scratch = [] }: ProgramNeed = { peak: peakBytes(program) },
): DeviceError {
  const buffers = program.buffers.map((spec, index) => ({
    bytes: spec.bytes,
    name: () => nameOf(program, spec, index),
  }));
  const others = scratch.map(({ name, bytes }) => ({ bytes, name: () => `scratch of ${name}` }));
  const largest = [...buffers, ...others]
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, 3)
    .map(({ name, bytes }) => `${name()} ${showBytes(bytes)}`);
  return new DeviceError(device, "the program does not fit the device's memory", {
    expected: `at most ${showBytes(limit)}`,
    got: `a peak of ${showBytes(peak)}; largest: ${largest.join(", ")}`,
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
