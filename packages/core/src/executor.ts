// Loads programs on their device, keeps the recently used ones, and turns results into tensors.

import type { Buffer, Device, Executable, Program } from "./device.ts";
import type { TypedArray } from "./dtype.ts";
import { DeviceError } from "./errors.ts";
import { Node } from "./graph.ts";
import type { TensorType } from "./op.ts";
import { debugFlag, isStrict } from "./settings.ts";
import { Tensor } from "./tensor.ts";

/** Loads a program; in strict mode a step that the device has no kernel for is refused. */
export function loadProgram(device: Device, program: Program, name: string): Executable {
  if (isStrict()) {
    for (const step of program.steps) {
      const reason = device.supports(step);
      if (reason === true) continue;
      const what =
        step.kind === "fused" ? step.def.name : step.kind === "primitive" ? step.primitive.name : step.kind;
      throw new DeviceError(what, `no kernel on ${device.name} (strict mode)`, {
        got: reason,
        hint: "Turn strict mode off to run the reference.",
      });
    }
  }
  const executable = device.load(program);
  if (debugFlag("plan"))
    console.error(`plan of ${name}, arena ${program.arenaBytes} bytes\n${executable.describe()}`);
  return executable;
}

/** A tensor that has its value. */
export function holding(buffer: Buffer, type: TensorType, device: Device, label = "result"): Tensor {
  const node = new Node({ name: "data", params: { label } }, [], [type], device);
  node.setBuffer(0, buffer);
  return new Tensor(node, 0);
}

/** The buffer of a realised tensor, or an error that says why there is none. */
export function bufferOf(t: Tensor, op: string): Buffer {
  const buffer = t.node.buffer(t.index);
  if (!buffer) {
    throw new DeviceError(op, "a tensor has no value any more", {
      hint: "It was freed, or its memory was donated to a compiled function.",
    });
  }
  return buffer;
}

/** Halves and bf16 bits as plain floats, for printing. */
export function widen(t: Tensor, data: TypedArray): TypedArray {
  if (t.dtype !== "bf16" && t.dtype !== "f16") return data;
  const out = new Float32Array(data.length);
  const view = new DataView(new ArrayBuffer(4));
  for (let i = 0; i < data.length; i++) {
    if (t.dtype === "f16") out[i] = data[i]!;
    else {
      view.setUint32(0, data[i]! << 16);
      out[i] = view.getFloat32(0);
    }
  }
  return out;
}
