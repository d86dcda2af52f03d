import { seededUniform } from "./synthetic-votes.ts";

/** A fold number 0..folds-1 per item, `[N]`, each class spread evenly over the folds. */
export function stratifiedFolds(labels: ArrayLike<number>, folds: number, seed = 5): Int32Array {
  const uniform = seededUniform(seed);
  const order = Array.from({ length: labels.length }, (_, i) => ({ i, key: uniform() }))
    .sort((a, b) => labels[a.i]! - labels[b.i]! || a.key - b.key)
    .map(({ i }) => i);
  const out = new Int32Array(labels.length);
  for (const [rank, i] of order.entries()) out[i] = rank % folds;
  return out;
}
