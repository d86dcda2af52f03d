// Memory that grows with the number of steps.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { NumericError, defaultDevice, type Device } from "@everlong/core";

export interface LeakOptions {
  readonly device?: Device;
  /** Steps before the first measurement, in which caches fill. Default 5. */
  readonly warmup?: number;
  /** Steps between the two measurements. Default 1000. */
  readonly steps?: number;
  /** Collect garbage before measuring, for values that only a finaliser frees. Default true. */
  readonly collect?: boolean;
}

const LATE_ROUNDS = 20;

let collector: (() => void) | undefined;

/** Collects garbage and lets finalisers run. */
export async function collectGarbage(): Promise<void> {
  if (!collector) {
    setFlagsFromString("--expose-gc");
    collector = runInNewContext("gc") as () => void;
  }
  for (let i = 0; i < 3; i++) {
    collector();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/**
 * Runs `step` many times and checks that the bytes which the device holds are the same after as before.
 * @returns the bytes held at the end.
 */
export async function leaks(step: (i: number) => unknown, options: LeakOptions = {}): Promise<number> {
  const { device = defaultDevice(), warmup = 5, steps = 1000, collect = true } = options;
  const run = async (from: number, to: number): Promise<number> => {
    for (let i = from; i < to; i++) await step(i);
    if (collect) await collectGarbage();
    return device.stats.liveBytes;
  };
  const before = await run(0, warmup);
  let after = await run(warmup, warmup + steps);
  // On a busy machine a finaliser may come late; what is kept stays, however often one collects.
  const rounds = collect ? LATE_ROUNDS : 0;
  for (let i = 0; i < rounds && after !== before; i++) {
    await collectGarbage();
    after = device.stats.liveBytes;
  }
  if (after !== before) {
    throw new NumericError("leaks", `live bytes change over ${steps} steps`, {
      expected: `${before}`,
      got: `${after} (${((after - before) / steps).toFixed(1)} a step)`,
    });
  }
  return after;
}
