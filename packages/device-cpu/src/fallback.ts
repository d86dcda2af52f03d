// Steps without a kernel: the op's float64 reference on host copies, with one warning per op, or refused in strict mode.

import {
  DeviceError,
  DTYPES,
  isStrict,
  runStepReference,
  type Step,
  type TypedArray,
  operandsOf,
  writtenBy,
} from "@everlong/core";
import type { Frame } from "./frame.ts";
import type { Runtime } from "./runtime.ts";

const warned = new Set<string>();

export interface Fallback {
  readonly name: string;
  readonly attach: (frame: Frame) => void;
  readonly run: () => void;
}

/** The main thread's work for a step that has no kernel because of `reason`. */
export function runReference(device: Runtime, step: Step, reason: string): Fallback {
  const name =
    step.kind === "fused" ? step.def.name : step.kind === "primitive" ? step.primitive.name : step.kind;
  if (isStrict()) {
    throw new DeviceError(name, "no kernel on cpu (strict mode)", {
      got: reason,
      hint: "Turn strict mode off to run the reference.",
    });
  }
  if (!warned.has(name)) {
    warned.add(name);
    console.warn(`[${name}] runs its float64 reference on the CPU, slowly: ${reason}.`);
  }
  let frame: Frame | undefined;
  const run = (): void => {
    const { memory } = device.heap;
    const buffers: TypedArray[] = [];
    for (const { buffer, dtype, view } of operandsOf(step)) {
      // From the buffer's start to the last element that any operand reaches.
      const last = view.shape.includes(0)
        ? 0
        : view.shape.reduce((at, n, i) => at + Math.max(0, (n - 1) * view.strides[i]!), view.offset) + 1;
      if (buffers[buffer] && buffers[buffer].length >= last) continue;
      const host = DTYPES[dtype].array(last);
      const address = frame!.addresses[buffer]!;
      new Uint8Array(host.buffer).set(memory.u8.subarray(address, address + host.byteLength));
      buffers[buffer] = host;
    }
    runStepReference(step, buffers);
    for (const { buffer } of writtenBy(step)) {
      const host = buffers[buffer]!;
      memory.u8.set(new Uint8Array(host.buffer, 0, host.byteLength), frame!.addresses[buffer]!);
    }
  };
  return { name, attach: (f) => (frame = f), run };
}
