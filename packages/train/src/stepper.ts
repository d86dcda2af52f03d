// Feeds batches to a step, be it over one batch or several, and reads the scalars of every finished step.

import { ConfigError, type Tensor } from "@everlong/core";
import { accumulatedStep } from "./accumulated-step.ts";
import { trainStep, type Batch, type TrainStepOptions } from "./train-step.ts";

export interface Stepper {
  /** The step's scalars by name when this batch completes one. */
  readonly feed: (batch: Batch) => Promise<Record<string, number> | undefined>;
  readonly dispose: () => void;
}

async function valuesOf(t: Tensor): Promise<number[]> {
  const values = [...(await t.data())] as number[];
  t[Symbol.dispose]();
  return values;
}

/** Calls a function in some surrounding, strict mode for one. */
export type Around = <R>(fn: () => R) => R;

/** @param parts batches of one step */
export function stepper(options: TrainStepOptions, parts: number, around: Around): Stepper {
  if (!Number.isInteger(parts) || parts < 1)
    throw new ConfigError("fit", "bad number of batches a step", {
      expected: "accumulate of 1 or more",
      got: `${parts}`,
    });
  return parts === 1 ? single(options, around) : several(options, parts, around);
}

function single(options: TrainStepOptions, around: Around): Stepper {
  const { run, names } = trainStep(options);
  return {
    feed: async (batch) => {
      const values = await valuesOf(around(() => run(batch)));
      return Object.fromEntries(names.map((n, i) => [n, values[i]!]));
    },
    dispose: () => run.dispose(),
  };
}

function several(options: TrainStepOptions, parts: number, around: Around): Stepper {
  const { collect, update, names, dispose } = accumulatedStep(options, parts);
  let seen: number[][] = [];
  return {
    feed: async (batch) => {
      const values = await valuesOf(around(() => collect(batch)));
      seen.push(values);
      // A loss that is not finite must not reach the weights: the step ends here, and the loop says so.
      if (seen.length < parts && Number.isFinite(values[names.indexOf("loss")]!)) return undefined;
      const means = names.map((n, i) => [n, seen.reduce((sum, v) => sum + v[i]!, 0) / seen.length] as const);
      const scalars: Record<string, number> = Object.fromEntries(means);
      seen = [];
      if (Number.isFinite(scalars["loss"]))
        [scalars["gradNorm"]] = (await valuesOf(around(update))) as [number];
      return scalars;
    },
    dispose,
  };
}
