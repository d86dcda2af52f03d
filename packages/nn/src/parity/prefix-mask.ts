// Masks of suffix padding from the lengths that a case stores.

import { iota, less, tensor, type Tensor } from "@everlong/core";

/** `[B, T]` bool from lengths, one for each row or one for all, for a tensor `[B, T, ..]`. */
export function prefixMask(lengths: readonly number[], like: Tensor): Tensor {
  const [batch, time] = like.shape as [number, number];
  const on = { device: like.device };
  const column = tensor(
    lengths.map((n) => [n]),
    { dtype: "i32", ...on },
  );
  return less(iota([batch, time], 1, on), column);
}
