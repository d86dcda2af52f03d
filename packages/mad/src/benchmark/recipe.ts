// How a setting of the benchmark is trained and judged. A recipe is data: it goes into the key of a result, and two
// recipes never share one.

import { checkOptions, ConfigError } from "@everlong/core";
import { MAD_SWEEP, MAD_TRAINING } from "../protocol.ts";

/** Everything beside architecture and setting that determines a result. */
export interface Recipe {
  /** Width D of the model. */
  readonly dim: number;
  readonly norm: "layer" | "rms";
  readonly batch: number;
  /** Length that layers are made for. Default: the setting's. */
  readonly maxLength?: number;
  /** Passes over the training rows; a fraction ends within a pass. */
  readonly epochs: number;
  readonly optimizer: "adamw" | "sgd";
  /**
   * `cosine` falls from each run's rate to `minLearningRate` over the epochs, in steps of one epoch; `plateau` multiplies a
   * run's rate by `plateauFactor` when its test loss has not improved for more than `plateauPatience` epochs.
   */
  readonly schedule: "cosine" | "plateau" | "constant";
  readonly minLearningRate: number;
  readonly plateauPatience: number;
  readonly plateauFactor: number;
  /** Steps over which rates rise from 0. */
  readonly warmup: number;
  /** Limit of the gradient norm; 0: none. */
  readonly clip: number;
  readonly learningRates: readonly number[];
  readonly weightDecays: readonly number[];
  /** A run ends at the epoch whose accuracy reaches this; above 1: never. */
  readonly stopAt: number;
  /** Epochs without a better accuracy after which a run ends; 0: never. */
  readonly patience: number;
  /** Epochs between measurements on the test set. */
  readonly evaluateEvery: number;
  /** Which accuracy ends runs and makes scores: over the whole test set, or mad-lab's mean over batches. */
  readonly accuracy: "epoch" | "batches";
  /** Whether data carry mad-lab's faults, which the published ones do. */
  readonly publishedData: boolean;
  /** What training's products are computed in. Default: float32; `bf16` needs a GPU. */
  readonly precision?: "bf16";
  /** Seed of data, parameters and order. */
  readonly seed: number;
}

/** The protocol as its paper and configurations describe it. */
export const PROTOCOL_RECIPE: Recipe = {
  dim: 128,
  norm: "rms",
  batch: MAD_TRAINING.batchSize,
  epochs: MAD_TRAINING.epochs,
  optimizer: MAD_TRAINING.optimizer,
  schedule: MAD_TRAINING.schedule,
  minLearningRate: MAD_TRAINING.minLearningRate,
  plateauPatience: 5,
  plateauFactor: 0.9,
  warmup: 0,
  clip: 0,
  learningRates: MAD_SWEEP.learningRates,
  weightDecays: MAD_SWEEP.weightDecays,
  stopAt: 0.999,
  patience: 0,
  evaluateEvery: 1,
  accuracy: "epoch",
  publishedData: true,
  seed: MAD_TRAINING.seed,
};

/**
 * What mad-lab's code does where it differs from what it says: the schedule never runs (its optimiser settings use a key
 * that Lightning ignores), and accuracy is a mean over batches of macro accuracies. The benchmark's models have RMS norms,
 * those of its training script layer norms (`norm`).
 */
export const COMPAT_CHANGES: Pick<Recipe, "schedule" | "accuracy"> = {
  schedule: "constant",
  accuracy: "batches",
};

/** What mad-lab's script for single runs does besides: it makes layers for 1,280 tokens, whatever the setting's length. */
export const COMPAT_RUN_CHANGES: Pick<Recipe, "schedule" | "accuracy" | "maxLength"> = {
  ...COMPAT_CHANGES,
  maxLength: 1280,
};

const KEYS = [...Object.keys(PROTOCOL_RECIPE), "maxLength", "precision"];
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  norm: ["layer", "rms"],
  optimizer: ["adamw", "sgd"],
  schedule: ["cosine", "plateau", "constant"],
  accuracy: ["epoch", "batches"],
  precision: ["bf16"],
};
const WHOLE = new Set([
  "dim",
  "batch",
  "warmup",
  "patience",
  "plateauPatience",
  "evaluateEvery",
  "seed",
  "maxLength",
]);
const POSITIVE = new Set(["dim", "batch", "epochs", "evaluateEvery", "maxLength"]);

/** The protocol's recipe with changes. @throws ConfigError for unknown keys and impossible values */
export function makeRecipe(changes: Partial<Recipe> = {}): Recipe {
  checkOptions("mad recipe", changes, KEYS);
  const recipe: Recipe = { ...PROTOCOL_RECIPE, ...changes };
  for (const [name, value] of Object.entries(recipe) as [string, unknown][]) {
    const wrong = (expected: string): ConfigError =>
      new ConfigError("mad recipe", `"${name}" is out of range`, { expected, got: JSON.stringify(value) });
    const choices = CHOICES[name];
    if (choices) {
      if (!choices.includes(value as string)) throw wrong(choices.join(" or "));
    } else if (name === "learningRates" || name === "weightDecays") {
      const least = name === "learningRates" ? "above 0" : "of at least 0";
      const good = (x: unknown): boolean =>
        typeof x === "number" && Number.isFinite(x) && (name === "learningRates" ? x > 0 : x >= 0);
      if (!Array.isArray(value) || value.length === 0 || !value.every(good))
        throw wrong(`a list of numbers ${least}`);
      if (new Set(value).size !== value.length) throw wrong("a list without repetitions");
    } else if (name === "publishedData") {
      if (typeof value !== "boolean") throw wrong("true or false");
    } else {
      const x = value as number;
      if (typeof x !== "number" || !Number.isFinite(x) || x < 0 || (POSITIVE.has(name) && x === 0))
        throw wrong(POSITIVE.has(name) ? "a number above 0" : "a number of at least 0");
      if (WHOLE.has(name) && !Number.isSafeInteger(x)) throw wrong("a whole number");
    }
  }
  return recipe;
}

/** What differs between the runs of a setting. */
export interface HyperParameters {
  readonly learningRate: number;
  readonly weightDecay: number;
}

/** Learning rates x weight decays, in the protocol's order. */
export const hyperParameters = (recipe: Recipe): HyperParameters[] =>
  recipe.learningRates.flatMap((learningRate) =>
    recipe.weightDecays.map((weightDecay) => ({ learningRate, weightDecay })),
  );

/** Steps of a run over `trainCount` rows; rows that fill no batch wait for the next epoch. */
export const stepsOf = (recipe: Recipe, trainCount: number): number =>
  Math.max(1, Math.round(recipe.epochs * stepsPerEpoch(recipe, trainCount)));

/** Full batches in a pass over the training rows. */
export const stepsPerEpoch = (recipe: Recipe, trainCount: number): number =>
  Math.max(1, Math.floor(trainCount / recipe.batch));

/**
 * Learning rate at a step (counted from 0) for a run whose own rate is `rate`; `drops` counts how often a plateau lowered it.
 */
export function rateAt(recipe: Recipe, rate: number, step: number, perEpoch: number, drops = 0): number {
  if (step < recipe.warmup) return (rate * (step + 1)) / recipe.warmup;
  if (recipe.schedule === "constant") return rate;
  if (recipe.schedule === "plateau") {
    const lowered = rate * recipe.plateauFactor ** drops;
    return drops === 0 ? rate : Math.max(lowered, Math.min(rate, recipe.minLearningRate));
  }
  // rates below the minimum stay where they are, as in a schedule that only ever lowers
  const low = Math.min(rate, recipe.minLearningRate);
  const done = Math.min(1, Math.floor(step / perEpoch) / Math.max(1, recipe.epochs));
  return low + (rate - low) * 0.5 * (1 + Math.cos(Math.PI * done));
}
