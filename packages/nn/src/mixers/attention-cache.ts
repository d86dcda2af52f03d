// Keys and values held during generation: one slot per position, a ring where a window forgets.

import {
  add,
  and,
  broadcastTo,
  cast,
  div,
  equal,
  exp,
  full,
  greaterEqual,
  iota,
  less,
  matmul,
  max,
  maximum,
  mod,
  mul,
  permute,
  quotient,
  repeat,
  reshape,
  sub,
  sum,
  takeAlong,
  tanh,
  transpose,
  unsqueeze,
  where,
  type Tensor,
} from "@everlong/core";
import { pack, type Packing } from "./attention-padding.ts";

/** What generation carries; positions count real tokens only. */
export type KeyValueCache = {
  /** `[B, S, G, K]`: position p is in slot p modulo S. */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** `[B, S]` i32: the position in a slot, -1 while it is empty. */
  readonly positions: Tensor;
  /** `[B]` i32: positions so far. */
  readonly length: Tensor;
};

/** How scores become weights. */
export interface CachedAttention {
  readonly scale: number;
  readonly softcap: number;
  /** Positions seen before the newest; -1: all. */
  readonly reach: number;
  /** `[H]`. */
  readonly slopes: Tensor | undefined;
  /** Bool `[B, 1 or H, 1, S]`: slots that a pattern of blocks leaves; default all. */
  readonly listed: Tensor | undefined;
}

/** The cache after a prompt `[B, T, G, K]`, of which `how` names the real positions. */
export function fillCache(k: Tensor, v: Tensor, how: Packing | undefined, slots: number): KeyValueCache {
  const [batch, time] = k.shape as [number, number];
  const on = { device: k.device };
  const length = how?.lengths ?? full([batch], time, { dtype: "i32", ...on });
  // The last position below the length that falls into each slot.
  const slot = iota([batch, slots], 1, on);
  const count = unsqueeze(length, 1);
  const laps = quotient(maximum(sub(sub(count, 1), slot), 0), slots);
  const last = add(slot, mul(laps, slots));
  const held = (t: Tensor): Tensor => {
    const at = reshape(last, [batch, slots, 1, 1]);
    return takeAlong(pack(t, how), broadcastTo(at, [batch, slots, ...t.shape.slice(2)]), 1);
  };
  return { keys: held(k), values: held(v), positions: where(less(slot, count), last, -1), length };
}

/** The cache with one more position, `k` and `v` `[B, 1, G, K]`. */
export function extendCache(cache: KeyValueCache, k: Tensor, v: Tensor): KeyValueCache {
  const { keys, values, positions, length } = cache;
  const [batch, slots] = positions.shape as [number, number];
  const newest = unsqueeze(length, 1);
  const here = equal(iota([batch, slots], 1, { device: k.device }), mod(newest, slots));
  const write = (old: Tensor, fresh: Tensor): Tensor =>
    where(reshape(here, [batch, slots, 1, 1]), fresh, old);
  return {
    keys: write(keys, k),
    values: write(values, v),
    positions: where(here, newest, positions),
    length: add(length, 1),
  };
}

/** Attention `[B, 1, H, K]` of the newest position to the cache that it is part of. */
export function attendCached(q: Tensor, cache: KeyValueCache, how: CachedAttention): Tensor {
  const { keys, values, positions, length } = cache;
  const share = q.shape[2]! / keys.shape[2]!;
  const wide = (t: Tensor): Tensor => permute(repeat(t, share, 2), [0, 2, 1, 3]);
  const [batch, slots] = positions.shape as [number, number];
  let scores = matmul(mul(permute(q, [0, 2, 1, 3]), how.scale), transpose(wide(keys)));
  if (how.softcap > 0) scores = mul(tanh(div(scores, how.softcap)), how.softcap);
  const lag = sub(positions, unsqueeze(sub(length, 1), 1));
  if (how.slopes) {
    const distance = reshape(cast(lag, q.dtype), [batch, 1, 1, slots]);
    scores = add(scores, mul(distance, reshape(how.slopes, [1, -1, 1, 1])));
  }
  let seen = greaterEqual(positions, 0);
  if (how.reach >= 0) seen = and(seen, greaterEqual(lag, -how.reach));
  const each = reshape(seen, [batch, 1, 1, slots]);
  const visible = how.listed ? and(each, how.listed) : each;
  const low = where(visible, scores, -1e30);
  // a position that sees nothing gives zeros
  const e = where(visible, exp(sub(low, max(low, -1, { keepDims: true }))), 0);
  const weights = div(e, maximum(sum(e, -1, { keepDims: true }), 1e-30));
  return permute(matmul(weights, wide(values)), [0, 2, 1, 3]);
}
