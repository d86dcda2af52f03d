// One compiled training step: loss, gradients, clipping, update.

import { cast, compile, random, stack, type Compiled, type Tensor } from "@everlong/core";
import type { Optimizer } from "./optimizer.ts";
import { checkPrecision, type Precision } from "./precision.ts";
import { checkClip, clipAndApply, lossAndGradients } from "./step-parts.ts";

/** A batch by name; the leading axis of each tensor is usually B. */
export type Batch = Readonly<Record<string, Tensor>>;

/** What a loss may use besides the batch. */
export interface StepContext {
  /** Random key `[2]` of this step, for dropout. */
  readonly key: Tensor;
}

/** The scalar loss of a batch, or the loss with more scalars to log. */
export type LossFunction = (
  batch: Batch,
  context: StepContext,
) => Tensor | { readonly loss: Tensor; readonly [name: string]: Tensor };

export interface TrainStepOptions {
  readonly loss: LossFunction;
  readonly optimizer: Optimizer;
  /** Limit of the global gradient norm. Default: none. */
  readonly clip?: number;
  /** What products are computed in. Default f32. See {@link Precision}. */
  readonly precision?: Precision;
  /** Decides the keys of all steps. Default 0. */
  readonly seed?: number;
  /** For plans and messages. */
  readonly name?: string;
}

/** Scalars of a step, in one small tensor. */
export interface StepFunction {
  readonly run: Compiled<readonly [Batch], Tensor>;
  /** Names of the scalars in the tensor that `run` returns; filled by the first run. */
  readonly names: readonly string[];
}

/** Compiles `loss`, its gradients and the update into one function of the batch. */
export function trainStep(options: TrainStepOptions): StepFunction {
  const { optimizer, name = "train step" } = options;
  const { device } = optimizer.step.current;
  const names: string[] = [];
  const update = oneUpdate(options);
  const run = compile(
    (batch: Batch): Tensor => {
      const scalars = update(batch);
      names.splice(0, names.length, ...Object.keys(scalars));
      return stack(Object.values(scalars).map((t) => cast(t, device.defaultFloat)));
    },
    { name },
  );
  return { run, names };
}

/** What one of several runs brings to an update of its own. */
export interface RunContext {
  /** Key of the run, in place of the options' seed. */
  readonly key?: Tensor | undefined;
  /** In place of the optimiser's base weight decay. */
  readonly weightDecay?: Tensor;
}

/** Loss, gradients, clipping and update of a batch, for use inside a trace; returns the step's scalars by name. */
export function oneUpdate(
  options: TrainStepOptions,
): (batch: Batch, run?: RunContext) => Record<string, Tensor> {
  const { optimizer, seed = 0 } = options;
  checkClip(options);
  checkPrecision(options.precision, optimizer.step.current.device);
  const base = random.key(seed, optimizer.step.current.device);
  return (batch, run = {}) => {
    // The step's own number keys its randomness: a resumed run draws what an uninterrupted one would.
    const { scalars, found } = lossAndGradients(
      options,
      batch,
      random.foldIn(run.key ?? base, optimizer.step.value),
    );
    scalars["gradNorm"] = clipAndApply(options, found, run.weightDecay);
    return Object.fromEntries(Object.entries(scalars).map(([n, t]) => [n, t.reshape([])]));
  };
}
