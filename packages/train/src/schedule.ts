// Learning-rate schedules: pure functions of the step, as factors on the base rate.

import { ConfigError } from "@everlong/core";

/** Factor on the base learning rate at step 0, 1, 2, ... */
export type Schedule = (step: number) => number;

export const constant = (): Schedule => () => 1;

export interface CosineOptions {
  /** Steps of the whole run, warm-up included. */
  readonly steps: number;
  /** Steps of linear warm-up from 0. Default 0. */
  readonly warmup?: number;
  /** Factor at the end. Default 0. */
  readonly final?: number;
}

/** Linear warm-up, then half a cosine down to `final` (Loshchilov & Hutter 2017, without restarts). */
export function cosine(options: CosineOptions): Schedule {
  const { steps, warmup = 0, final = 0 } = options;
  if (!(steps > 0) || warmup < 0 || warmup > steps) {
    throw new ConfigError("cosine", "steps do not fit", {
      expected: "0 <= warmup <= steps, steps > 0",
      got: `warmup ${warmup}, steps ${steps}`,
    });
  }
  return (step) => {
    if (step < warmup) return (step + 1) / warmup;
    const progress = Math.min(1, (step - warmup) / Math.max(1, steps - warmup));
    return final + (1 - final) * 0.5 * (1 + Math.cos(Math.PI * progress));
  };
}
