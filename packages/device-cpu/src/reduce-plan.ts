import type { ReduceStep } from "@everlong/core";
import type { Lowered } from "./kernel-step.ts";

export function planReduce(_step: ReduceStep): Lowered | string {
  return "no reductions yet";
}
