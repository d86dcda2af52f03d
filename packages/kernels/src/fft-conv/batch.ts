// Folding the axis of vmap into the batch, or into the channels where filters differ too.

import { broadcastTo, permute, reshape, unsqueeze, type BatchContext, type Tensor } from "@everlong/core";
import type { FftConvInput, FftConvParams, Layout } from "./op.ts";

/** A mapped axis in front folds into batch when filters are shared, else into channels. */
export function batchRule(
  context: BatchContext<FftConvParams>,
  perChannel: readonly FftConvInput[],
  layout: Layout,
): Tensor[] {
  const { inputs, mapped, size, params } = context;
  const isFilter = params.inputs.map((name) => perChannel.includes(name));
  if (!mapped.some((m, i) => m && isFilter[i])) return foldIntoBatch(context, isFilter);
  const folded = inputs.map((t, i) =>
    isFilter[i] ? foldFilters(t, mapped[i]!, size, layout) : foldSequences(t, mapped[i]!, size, layout),
  );
  return context.apply(folded).map((y) => unfoldSequences(y, size, layout));
}

/** A mapped axis of sequences joins their batch; filters are `shared` by all. */
export function foldIntoBatch(
  { inputs, mapped, size, apply }: Omit<BatchContext<never>, "params">,
  shared: readonly boolean[],
): Tensor[] {
  const folded = inputs.map((t, i) => {
    if (shared[i]) return t;
    const wide = mapped[i] ? t : repeatFront(t, size);
    return reshape(wide, [size * wide.shape[1]!, ...wide.shape.slice(2)]);
  });
  return apply(folded).map((y) => reshape(y, [size, y.shape[0]! / size, ...y.shape.slice(1)]));
}

const repeatFront = (t: Tensor, size: number): Tensor => broadcastTo(unsqueeze(t, 0), [size, ...t.shape]);

// [R, B, D, L] -> [B, R D, L], or [R, B, L, D] -> [B, L, R D]
export function foldSequences(t: Tensor, mapped: boolean, size: number, layout: Layout): Tensor {
  const wide = mapped ? t : repeatFront(t, size);
  const [r, b, p, q] = wide.shape as [number, number, number, number];
  return layout === "bdl"
    ? reshape(permute(wide, [1, 0, 2, 3]), [b, r * p, q])
    : reshape(permute(wide, [1, 2, 0, 3]), [b, p, r * q]);
}

function unfoldSequences(y: Tensor, size: number, layout: Layout): Tensor {
  const [b, p, q] = y.shape as [number, number, number];
  return layout === "bdl"
    ? permute(reshape(y, [b, size, p / size, q]), [1, 0, 2, 3])
    : permute(reshape(y, [b, p, size, q / size]), [2, 0, 1, 3]);
}

// [R, D, J] -> [R D, J]; [R, J, D] -> [J, R D]; skips [R, D] -> [R D]
function foldFilters(t: Tensor, mapped: boolean, size: number, layout: Layout): Tensor {
  const wide = mapped ? t : repeatFront(t, size);
  if (wide.rank === 2) return reshape(wide, [-1]);
  const [r, p, q] = wide.shape as [number, number, number];
  return layout === "bdl" ? reshape(wide, [r * p, q]) : reshape(permute(wide, [1, 0, 2]), [p, r * q]);
}

export function unfoldFilters(t: Tensor, size: number, layout: Layout): Tensor {
  const [p, q] = t.shape as [number, number];
  return layout === "bdl"
    ? reshape(t, [size, p / size, q])
    : permute(reshape(t, [p, size, q / size]), [1, 0, 2]);
}
