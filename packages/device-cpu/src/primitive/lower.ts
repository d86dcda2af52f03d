import type { PrimitiveStep } from "@everlong/core";
import type { Lowered, WasmTarget } from "../kernel-step.ts";

/** The kernels of a primitive that runs on its own. */
export function lowerPrimitive(step: PrimitiveStep, _target: WasmTarget): Lowered | string {
  return `no kernel for ${step.primitive.name} yet`;
}
