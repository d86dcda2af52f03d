// Folding the axis of vmap into the batch.

import { broadcastTo, reshape, unsqueeze, type BatchContext, type Tensor } from "@everlong/core";

/**
 * A mapped axis of sequences joins their batch; filters are `shared` by all. With filters of its own every example is a
 * call of its own: as more channels, all sequences would have to be moved.
 */
export function foldIntoBatch(
  { inputs, mapped, size, apply }: Omit<BatchContext<never>, "params">,
  shared: readonly boolean[],
): Tensor[] | undefined {
  if (mapped.some((m, i) => m && shared[i])) return undefined;
  const folded = inputs.map((t, i) => {
    if (shared[i]) return t;
    const wide = mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]);
    return reshape(wide, [size * wide.shape[1]!, ...wide.shape.slice(2)]);
  });
  return apply(folded).map((y) => reshape(y, [size, y.shape[0]! / size, ...y.shape.slice(1)]));
}
