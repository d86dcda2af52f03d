// What an exact continuation of a long convolution needs: its inputs so far, newest first, so that slot j meets tap j.

import { concat, ConfigError, flip, mul, narrow, sum, unsqueeze, type Tensor } from "@everlong/core";
import { lastReal } from "./padding.ts";

/**
 * The inputs of a prompt `[B, T, C]` in `capacity` slots `[B, capacity, C]`, zeros where there were none.
 * @throws ConfigError if the capacity exceeds the filter or does not hold the prompt.
 */
export function inputHistory(
  layer: string,
  x: Tensor,
  capacity: number,
  longest: number,
  mask: Tensor | undefined,
): Tensor {
  if (capacity > longest || x.shape[1]! > capacity) {
    throw new ConfigError(`${layer}.prefill`, "the capacity must hold the prompt and fit the filter", {
      expected: `${x.shape[1]!} to ${longest}`,
      got: `${capacity}`,
    });
  }
  return flip(lastReal(x, capacity, mask), 1);
}

/** One input `[B, C]` more; the oldest slot leaves. */
export const remembered = (history: Tensor, fresh: Tensor): Tensor =>
  concat([unsqueeze(fresh, 1), narrow(history, 1, 0, history.shape[1]! - 1)], 1);

/** The convolution's output now `[B, C]`, from taps `[capacity, C]`. */
export const convolvedNow = (history: Tensor, taps: Tensor): Tensor => sum(mul(history, taps), 1);
