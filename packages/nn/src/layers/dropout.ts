// Dropout that is on exactly when a call brings a key.

import { ConfigError, random, type Tensor } from "@everlong/core";

/** Checks a dropout rate once, at construction. */
export function checkRate(op: string, rate: number): number {
  if (!(rate >= 0 && rate < 1))
    throw new ConfigError(op, "dropout rate out of range", { expected: "0 <= rate < 1", got: `${rate}` });
  return rate;
}

/** Drops with `rate` under a key of its own, `foldIn(key, site)`; without a key nothing happens. */
export const dropout = (x: Tensor, rate: number, key: Tensor | undefined, site: number): Tensor =>
  key === undefined || rate === 0 ? x : random.dropout(random.foldIn(key, site), x, rate);
