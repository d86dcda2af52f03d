// Steps without a kernel: the op's float64 reference on host copies, with one warning per op, or refused in strict mode.

import {
  DeviceError,
  DTYPES,
  isStrict,
  runStepReference,
  type Step,
  type StepOperand,
  type TypedArray,
  operandsOf,
  writtenBy,
} from "@everlong/core";
import type { Frame } from "./frame.ts";
import type { Runtime } from "./runtime.ts";

const warned = new Set<string>();

export interface ReferenceWork {
  readonly name: string;
  readonly attach: (frame: Frame) => void;
  readonly run: () => void;
}

/** Elements from the buffer's start to the last one that a view reaches. */
function reachOf({ view }: StepOperand): number {
  if (view.shape.includes(0)) return 0;
  return view.shape.reduce((at, n, i) => at + Math.max(0, (n - 1) * view.strides[i]!), view.offset) + 1;
}

/** The host's work for a step that has no kernel because of `reason`. */
export function referenceWork(device: Runtime, step: Step, reason: string): ReferenceWork {
  const name =
    step.kind === "fused" ? step.def.name : step.kind === "primitive" ? step.primitive.name : step.kind;
  if (isStrict()) {
    throw new DeviceError(name, "no kernel on cuda (strict mode)", {
      got: reason,
      hint: "Turn strict mode off to run the reference.",
    });
  }
  if (!warned.has(name)) {
    warned.add(name);
    console.warn(`[${name}] runs its float64 reference on the host, slowly: ${reason}.`);
  }
  let frame: Frame | undefined;
  const run = (): void => {
    const buffers: TypedArray[] = [];
    for (const operand of operandsOf(step)) {
      const { buffer, dtype } = operand;
      const last = reachOf(operand);
      if (buffers[buffer] && buffers[buffer].length >= last) continue;
      const host = DTYPES[dtype].array(last);
      device.transfers.downloadNow(frame!.addresses[buffer]!, new Uint8Array(host.buffer));
      buffers[buffer] = host;
    }
    runStepReference(step, buffers);
    for (const { buffer } of writtenBy(step))
      device.transfers.upload(frame!.addresses[buffer]!, new Uint8Array(buffers[buffer]!.buffer));
  };
  return { name, attach: (f) => (frame = f), run };
}
