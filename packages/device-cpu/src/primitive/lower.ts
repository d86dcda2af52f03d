// The primitives that are kernels of their own.

import { sizeOf, type KernelPrimitive, type PrimitiveStep } from "@everlong/core";
import { matmulWasm, type WasmSource } from "@everlong/kernels/wasm";
import { lowerCall } from "../call-lowering.ts";
import type { Lowered, WasmTarget } from "../kernel-step.ts";
import { argReduce } from "./arg-reduce.ts";
import { cumulative } from "./cumulative.ts";
import { fft } from "./fft.ts";
import { gather } from "./gather.ts";
import { randomBits } from "./random-bits.ts";
import { scatter } from "./scatter.ts";
import { sort } from "./sort.ts";

const sources: { readonly [P in KernelPrimitive]: WasmSource<never> } = {
  argReduce,
  cumulative,
  fft,
  gather,
  matmul: matmulWasm as WasmSource<never>,
  randomBits,
  scatter,
  sort,
};

/** The kernels of a primitive, or the reason why there are none. */
export function lowerPrimitive(step: PrimitiveStep, target: WasmTarget): Lowered | string {
  const { name, params } = step.primitive;
  const call = lowerCall(sources[name], params, step.inputs, step.outputs, target);
  return typeof call === "string" ? call : { ...call, name, flops: flopsOf(step) };
}

function flopsOf({ primitive, inputs, outputs }: PrimitiveStep): number {
  if (primitive.name === "matmul") return 2 * sizeOf(outputs[0]!.view.shape) * inputs[0]!.view.shape.at(-1)!;
  if (primitive.name === "fft") {
    const n = outputs[0]!.view.shape.at(-1)!;
    return Math.round(5 * sizeOf(outputs[0]!.view.shape) * Math.log2(Math.max(2, n)));
  }
  return primitive.name === "cumulative" ? sizeOf(outputs[0]!.view.shape) : 0;
}
