// A training step over several batches: gradients are added up, then one update is made from their mean.

import { add, cast, compile, div, mul, random, stack, tensor, type Tensor, Variable } from "@everlong/core";
import { slot } from "./optimizer.ts";
import { checkPrecision } from "./precision.ts";
import { checkClip, clipAndApply, lossAndGradients } from "./step-parts.ts";
import type { Batch, TrainStepOptions } from "./train-step.ts";

/** The two compiled halves of an accumulated step. */
export interface AccumulatedStep {
  /** Adds a batch's gradients; the batch's scalars, in the order of `names`. */
  readonly collect: (batch: Batch) => Tensor;
  /** Updates from the mean of `parts` gradients and forgets them; the norm of that mean. */
  readonly update: () => Tensor;
  /** Filled by the first batch. */
  readonly names: readonly string[];
  readonly dispose: () => void;
}

/**
 * Compiles a step over `parts` batches. With batches of one size and a loss that is a mean over the batch, it equals a step over
 * all of them at once, in the memory of one batch and a copy of the gradients.
 */
export function accumulatedStep(options: TrainStepOptions, parts: number): AccumulatedStep {
  checkClip(options);
  const { optimizer, seed = 0, name = "train step" } = options;
  const { device } = optimizer.step.current;
  checkPrecision(options.precision, device);
  const base = random.key(seed, device);
  const sums = optimizer.parameters.map((p) => slot(p, "gradient"));
  const part = new Variable(tensor(0, { dtype: "i32", device }), { name: "part", trainable: false });
  const names: string[] = [];
  const collect = compile(
    (batch: Batch): Tensor => {
      const key = random.foldIn(random.foldIn(base, optimizer.step.value), part.value);
      const { scalars, found } = lossAndGradients(options, batch, key);
      sums.forEach((sum, i) => {
        sum.value = add(sum.value, found[i]!);
      });
      part.value = add(part.value, 1);
      names.splice(0, names.length, ...Object.keys(scalars));
      return stack(Object.values(scalars).map((t) => cast(t.reshape([]), device.defaultFloat)));
    },
    { name: `${name}: gradients` },
  );
  const update = compile(
    (): Tensor => {
      const norm = clipAndApply(
        options,
        sums.map((sum) => div(sum.value, parts)),
      );
      for (const sum of sums) sum.value = mul(sum.value, 0);
      part.value = mul(part.value, 0);
      return norm;
    },
    { name: `${name}: update` },
  );
  const dispose = (): void => {
    collect.dispose();
    update.dispose();
    for (const v of [...sums, part]) v.current[Symbol.dispose]();
  };
  return { collect, update, names, dispose };
}
