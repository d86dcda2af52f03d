// Gradient clipping by global norm.

import { add, div, minimum, type Tensor } from "@everlong/core";
import { globalNorm, scaledAll } from "@everlong/kernels";

export { globalNorm };

/** Scales all gradients so that their global norm is at most `limit` (Pascanu et al. 2013). Also returns the norm before. */
export function clipByGlobalNorm(
  gradients: readonly Tensor[],
  limit: number,
): { clipped: Tensor[]; norm: Tensor } {
  const norm = globalNorm(gradients);
  // The small constant keeps a zero gradient finite, as in torch.
  const scale = minimum(div(limit, add(norm, 1e-6)), 1);
  return { clipped: scaledAll(gradients, scale), norm };
}
