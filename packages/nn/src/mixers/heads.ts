// Features into heads and back; every size is said, so that batches of nothing work.

import { reshape, type Tensor } from "@everlong/core";

/** `[.., H K]` to `[.., H, K]`. */
export const splitHeads = (t: Tensor, heads: number): Tensor =>
  reshape(t, [...t.shape.slice(0, -1), heads, t.shape[t.rank - 1]! / heads]);

/** `[.., H, K]` to `[.., H K]`. */
export const joinHeads = (t: Tensor): Tensor =>
  reshape(t, [...t.shape.slice(0, -2), t.shape[t.rank - 2]! * t.shape[t.rank - 1]!]);
