// Fused ops: their WebAssembly sources come from @everlong/kernels.

import type { FusedStep, StepOperand, TensorType } from "@everlong/core";
import { wasmSources } from "@everlong/kernels/wasm";
import { lowerCall } from "./call-lowering.ts";
import type { Lowered, WasmTarget } from "./kernel-step.ts";

const typeOf = ({ view, dtype }: StepOperand): TensorType => ({ shape: view.shape, dtype });

/** The kernels of a fused op, or the reason why there are none. */
export function lowerFused(step: FusedStep, target: WasmTarget): Lowered | string {
  const { def, params, inputs, outputs } = step;
  const source = wasmSources[def.name];
  if (!source) return `${def.name} has no WebAssembly source`;
  const call = lowerCall(source, params, inputs, outputs, target);
  if (typeof call === "string") return call;
  const { flops } = def.cost(inputs.map(typeOf), outputs.map(typeOf), params as never);
  return { ...call, name: def.name, flops };
}
