import type { FusedStep } from "@everlong/core";
import type { Lowered, WasmTarget } from "./kernel-step.ts";

export function lowerFused(step: FusedStep, _target: WasmTarget): Lowered | string {
  return `no kernel for ${step.def.name}`;
}
