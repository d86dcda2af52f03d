// Gradient clipping by global norm.

import { add, div, minimum, mul, sqrt, square, sum, type Tensor } from "@everlong/core";

/** Euclidean norm over all tensors together. */
export const globalNorm = (tensors: readonly Tensor[]): Tensor =>
  sqrt(tensors.map((t) => sum(square(t))).reduce((a, b) => add(a, b)));

/** Scales all gradients so that their global norm is at most `limit` (Pascanu et al. 2013). Also returns the norm before. */
export function clipByGlobalNorm(
  gradients: readonly Tensor[],
  limit: number,
): { clipped: Tensor[]; norm: Tensor } {
  const norm = globalNorm(gradients);
  // The small constant keeps a zero gradient finite, as in torch.
  const scale = minimum(div(limit, add(norm, 1e-6)), 1);
  return { clipped: gradients.map((g) => mul(g, scale)), norm };
}
