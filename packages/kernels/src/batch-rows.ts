// Batching of ops that work on rows `[..., N]` with shared parameters.

import { broadcastTo, unsqueeze, type BatchContext, type Tensor } from "@everlong/core";

/**
 * Rows fold: when only row-like inputs are mapped, the new axis is one more leading axis of theirs. With parameters of
 * its own every example is a call of its own.
 */
export function batchRows<P, N extends string>(
  { inputs, mapped, size, apply }: BatchContext<P>,
  names: readonly N[],
  rowInputs: readonly N[],
): Tensor[] | undefined {
  const isRow = names.map((name) => rowInputs.includes(name));
  if (mapped.some((m, i) => m && !isRow[i])) return undefined;
  return apply(
    inputs.map((t, i) => (isRow[i] && !mapped[i] ? broadcastTo(unsqueeze(t, 0), [size, ...t.shape]) : t)),
  );
}

/** For ops all of whose inputs are rows: the new axis is one more leading axis. */
export const batchLeading = <P>({ inputs, mapped, size, apply }: BatchContext<P>): Tensor[] =>
  apply(inputs.map((t, i) => (mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]))));
