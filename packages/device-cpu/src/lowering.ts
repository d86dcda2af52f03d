// From a step of a program to kernels: one case per kind of step.

import {
  isFloat,
  type FusedStep,
  type LoopStep,
  type PrimitiveStep,
  type ReduceStep,
  operandsOf,
} from "@everlong/core";
import type { Lowered, WasmTarget } from "./kernel-step.ts";
import { lowerFused } from "./fused-lowering.ts";
import { elementCount, planLoop } from "./loop-plan.ts";
import { lowerPrimitive } from "./primitive/lower.ts";
import { planReduce } from "./reduce-plan.ts";

/** Steps that become kernels; scans hold programs and are laid out by the executable. */
export type KernelStep = LoopStep | ReduceStep | PrimitiveStep | FusedStep;

// A step is asked for more than once: by `supports`, when its program is loaded, and when that is loaded again.
const known = new WeakMap<KernelStep, { readonly target: WasmTarget; readonly lowered: Lowered | string }>();

/** The kernels of a step, or the reason why there are none. */
export function lower(step: KernelStep, target: WasmTarget): Lowered | string {
  const cached = known.get(step);
  if (cached?.target === target) return cached.lowered;
  const lowered = lowerAnew(step, target);
  known.set(step, { target, lowered });
  return lowered;
}

function lowerAnew(step: KernelStep, target: WasmTarget): Lowered | string {
  const f64 = operandsOf(step).find((o) => o.dtype === "f64");
  if (f64) return "the CPU device has no f64 (use the reference device)";
  switch (step.kind) {
    case "loop":
      return lowerLoop(step);
    case "reduce":
      return planReduce(step);
    case "primitive":
      return lowerPrimitive(step, target);
    case "fused":
      return lowerFused(step, target);
  }
}

function lowerLoop(step: LoopStep): Lowered {
  const launch = planLoop(step);
  const work = step.code.filter((i) => i.op !== "load" && i.op !== "const" && i.op !== "iota").length;
  const copies = work === 0;
  return {
    name: copies ? "copy" : `loop ${loopName(step)}`,
    inputs: step.args,
    outputs: step.outputs.map((o) => o.operand),
    steps: launch ? [launch] : [],
    temps: [],
    flops: isFloat(step.outputs[0]!.operand.dtype) ? work * elementCount(step.shape) : 0,
  };
}

/** The functions of a loop, shortened: `mul+add+tanh`. */
function loopName(step: LoopStep): string {
  const names = step.code.flatMap((i) =>
    "fn" in i ? [i.fn] : i.op === "select" || i.op === "cast" ? [i.op] : [],
  );
  return names.length > 6 ? `${names.slice(0, 5).join("+")}+${names.length - 5} more` : names.join("+");
}
