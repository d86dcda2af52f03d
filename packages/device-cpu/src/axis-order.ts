// Which axis of an index space a generated kernel runs along: the one that costs least, given how every operand steps there.

import { collapse } from "@everlong/core";

/** An index space after merging: `strides[operand][axis]` in elements. */
export interface Space {
  readonly shape: readonly number[];
  readonly strides: readonly (readonly number[])[];
}

/**
 * Drops axes of size 1, sorts the others by the strides of operand `leader` (largest first), and merges neighbours that every
 * operand walks as one.
 */
export function normalizeSpace(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  leader: number,
): Space {
  const axes = shape.map((_, i) => i).filter((i) => shape[i] !== 1);
  const lead = strides[leader];
  if (lead) axes.sort((a, b) => Math.abs(lead[b]!) - Math.abs(lead[a]!) || a - b);
  return collapse(
    axes.map((i) => shape[i]!),
    strides.map((s) => axes.map((i) => s[i]!)),
  );
}

/** Cost of an axis as the inner one, per element, in vector operations: a lane gather takes about six. */
export function innerCost(space: Space, axis: number, tileable: (operand: number) => boolean): number {
  const n = space.shape[axis]!;
  let cost = 0;
  space.strides.forEach((s, operand) => {
    if (s[axis] === 0 || s[axis] === 1) cost += 1;
    else cost += tileable(operand) && space.shape.some((m, a) => a !== axis && s[a] === 1 && m >= 4) ? 3 : 8;
  });
  return cost / 8 + (12 + 3 * space.strides.length) / n;
}

/** The cheapest inner axis; of equals the last. `allowed` limits the choice. */
export function chooseInner(
  space: Space,
  tileable: (operand: number) => boolean,
  allowed: (axis: number) => boolean = () => true,
): number {
  let best = -1;
  let bestCost = Infinity;
  space.shape.forEach((_, axis) => {
    if (!allowed(axis)) return;
    const cost = innerCost(space, axis, tileable);
    if (cost <= bestCost) [best, bestCost] = [axis, cost];
  });
  return best;
}
