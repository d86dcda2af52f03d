// Choosing experts: a score per expert and position, of which the best few count (Shazeer et al. 2017, arXiv 1701.06538).

import {
  ConfigError,
  cast,
  greater,
  less,
  softmax,
  stopGradient,
  sum,
  unsqueeze,
  where,
  type Tensor,
} from "@everlong/core";
import { Linear } from "../layers/linear.ts";

/** @throws ConfigError unless `active` of `experts` can be chosen. */
export function checkExperts(op: string, experts: number, active: number): void {
  if (!Number.isInteger(experts) || !Number.isInteger(active) || active < 1 || active > experts) {
    throw new ConfigError(op, "active experts must lie between 1 and all", {
      got: `${active} of ${experts}`,
    });
  }
}

/** The map to scores of experts. */
export const makeRouter = (key: Tensor, dim: number, experts: number): Linear =>
  new Linear({ key, inputs: dim, outputs: experts });

/**
 * Weights of experts `[..., E]`, positive for the `active` best scores (and for ties with the last of them), summing to 1.
 * @param soft mad-lab's way: other scores become 0 before the softmax, so that every expert keeps a weight
 */
export function expertWeights(scores: Tensor, active: number, soft: boolean): Tensor {
  const fixed = stopGradient(scores);
  const better = greater(unsqueeze(fixed, -2), unsqueeze(fixed, -1));
  const rank = sum(cast(better, fixed.dtype), -1);
  return softmax(where(less(rank, active), scores, soft ? 0 : -1e30), -1);
}
