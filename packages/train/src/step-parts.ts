// The parts of a training step: loss with gradients, clipping with update.

import { ConfigError, gradients, type Tensor } from "@everlong/core";
import { clipByGlobalNorm, globalNorm } from "./clip.ts";
import { inPrecision } from "./precision.ts";
import type { Batch, TrainStepOptions } from "./train-step.ts";

export function checkClip({ clip }: TrainStepOptions): void {
  if (clip !== undefined && !(clip > 0))
    throw new ConfigError("trainStep", "clip must be positive", { got: `${clip}` });
}

/** The scalars of a batch by name, and the gradients of all parameters. */
export function lossAndGradients(
  { loss, optimizer, precision }: TrainStepOptions,
  batch: Batch,
  key: Tensor,
): { scalars: Record<string, Tensor>; found: Tensor[] } {
  const weights = optimizer.parameters.map((p) => p.variable.value);
  const out = inPrecision(precision, weights, () => loss(batch, { key }));
  const scalars: Record<string, Tensor> =
    "loss" in out ? { ...(out as Record<string, Tensor>) } : { loss: out as Tensor };
  const found = gradients(scalars["loss"]!, weights);
  return { scalars, found };
}

/** Updates the parameters; returns the norm of the gradients before clipping. */
export function clipAndApply(
  { optimizer, clip }: TrainStepOptions,
  found: Tensor[],
  weightDecay?: Tensor,
): Tensor {
  const { clipped, norm } =
    clip === undefined ? { clipped: found, norm: globalNorm(found) } : clipByGlobalNorm(found, clip);
  optimizer.apply(clipped, weightDecay);
  return norm;
}
