// Batching of ops that work on rows `[..., N]` or batches `[B, ...]` with shared parameters.

import { broadcastTo, reshape, unsqueeze, type BatchContext, type Tensor } from "@everlong/core";

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

/**
 * A mapped axis joins the batch, the first axis of inputs and outputs; what is `shared` (filters, tables, matrices) all examples use.
 * Where examples have shared inputs of their own, every example is a call of its own.
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
