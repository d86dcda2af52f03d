// Batching of ops that work on rows `[..., N]` with shared parameters.

import { broadcastTo, reshape, unsqueeze, type BatchContext, type Tensor } from "@everlong/core";

/**
 * Rows fold: when only row-like inputs are mapped, the new axis is one more leading axis of theirs. When a shared
 * parameter is mapped, the primitives run with the parameter broadcast over the rows of its example.
 */
export function batchThrough<P, N extends string>(
  context: BatchContext<P>,
  names: readonly N[],
  rowInputs: readonly N[],
  decompose: (inputs: readonly Tensor[], params: P) => Tensor[],
): Tensor[] {
  const { inputs, mapped, size, params } = context;
  const isRow = names.map((name) => rowInputs.includes(name));
  const widened = inputs.map((t, i) =>
    isRow[i] && !mapped[i] ? broadcastTo(unsqueeze(t, 0), [size, ...t.shape]) : t,
  );
  if (!mapped.some((m, i) => m && !isRow[i])) return context.apply(widened);
  const rank = inputs[isRow.indexOf(true)]!.rank + (mapped[isRow.indexOf(true)] ? 0 : 1);
  const spread = widened.map((t, i) => {
    if (isRow[i] || !mapped[i]) return t;
    const gap = Array.from<number>({ length: rank - t.rank }).fill(1);
    return reshape(t, [size, ...gap, ...t.shape.slice(1)]);
  });
  return decompose(spread, params);
}

/** For ops all of whose inputs are rows: the new axis is one more leading axis. */
export const batchLeading = <P>({ inputs, mapped, size, apply }: BatchContext<P>): Tensor[] =>
  apply(inputs.map((t, i) => (mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]))));
