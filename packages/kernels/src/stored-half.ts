// Ops whose sequences may be stored in half precision, by primitives: widened before, rounded once behind.

import { cast, type Tensor } from "@everlong/core";
import { isHalf, widened } from "./inputs.ts";

/**
 * A decomposition in float32 as one of half-precision inputs, if there are any.
 * @param halves the outputs that are half then
 */
export const storedHalf =
  <P>(decompose: (inputs: readonly Tensor[], params: P) => Tensor[], halves: readonly number[]) =>
  (inputs: readonly Tensor[], params: P): Tensor[] => {
    const half = inputs.find((t) => isHalf(t.dtype))?.dtype;
    if (half === undefined) return decompose(inputs, params);
    return decompose(inputs.map(widened), params).map((t, i) => (halves.includes(i) ? cast(t, half) : t));
  };
