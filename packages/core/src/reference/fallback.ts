// The reference as other devices use it: for steps that they have no kernel for.

import type { Step } from "../device.ts";
import type { TypedArray } from "../dtype.ts";
import type { OpDef } from "../op.ts";
import { sizeOf } from "../shape.ts";
import { roundAll } from "./code.ts";
import { fromFloat64, operandsOf, prepareStep, storeFloat64, toFloat64, type HostTensor } from "./program.ts";

/**
 * Runs a fused op's float64 reference on contiguous host arrays.
 * @param inputs one per operand; `data` is the storage of `dtype` (bf16 as its bits).
 * @returns the outputs, rounded to the dtypes that the op states.
 */
export function runReference(def: OpDef, inputs: readonly HostTensor[], params: unknown): HostTensor[] {
  const types = def.shape(inputs, params as never);
  const outputs = types.map(({ shape }) => ({ shape, data: new Float64Array(sizeOf(shape)).fill(NaN) }));
  const arrays = inputs.map(({ shape, dtype, data }) => ({
    shape,
    data: toFloat64(data, dtype, sizeOf(shape)),
  }));
  def.reference(arrays, outputs, params as never);
  return types.map(({ shape, dtype }, i) => {
    roundAll(dtype, outputs[i]!.data);
    return { shape, dtype, data: fromFloat64(outputs[i]!.data, dtype) };
  });
}

/**
 * Runs one step of any kind on host storage, in place: buffers that the step writes are changed.
 * @param buffers storage of the program's buffers by index, in their dtypes; only those of the step need be there.
 */
export function runStepReference(step: Step, buffers: readonly (TypedArray | undefined)[]): void {
  const { reads, writes } = operandsOf(step);
  const storage: Float64Array[] = [];
  for (const { buffer, dtype } of [...reads, ...writes])
    storage[buffer] ??= toFloat64(buffers[buffer]!, dtype);
  prepareStep(step)(storage);
  for (const { buffer, dtype } of writes) storeFloat64(storage[buffer]!, dtype, buffers[buffer]!);
}
