// Measures of predictions, as tensors: they can be logged from inside a compiled step.

import { argmax, cast, div, equal, maximum, mul, notEqual, sum, type Tensor } from "@everlong/core";

/**
 * Share of rows whose largest logit is the target's; rows with `ignoreIndex` do not count.
 * @param logits `[..., N]`
 * @param targets `[...]` i32
 */
export function accuracy(
  logits: Tensor,
  targets: Tensor,
  options: { readonly ignoreIndex?: number } = {},
): Tensor {
  const { ignoreIndex = -100 } = options;
  const float = logits.device.defaultFloat;
  const counted = cast(notEqual(targets, ignoreIndex), float);
  const right = mul(cast(equal(argmax(logits, -1), targets), float), counted);
  return div(sum(right), maximum(sum(counted), 1));
}
