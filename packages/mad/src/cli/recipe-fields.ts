// The options by which commands change a recipe; defaults are the suite's or the protocol's.

import { COMPAT_CHANGES, type Recipe } from "../benchmark/recipe.ts";
import type { Field, FieldValues } from "./fields.ts";

/** Fields that `sweep`, `run` and `search` share; each names a key of a recipe, or says in `recipeOf` which it means. */
export const RECIPE_FIELDS: readonly Field[] = [
  { name: "dim", kind: "count", positive: true, describe: "width of the model" },
  { name: "norm", kind: "text", choices: ["layer", "rms"], describe: "norm before every layer" },
  {
    name: "maxLength",
    kind: "count",
    positive: true,
    describe: "length that layers are made for (default: the setting's)",
  },
  { name: "batch", kind: "count", positive: true, describe: "batch size", original: ["batch-size"] },
  {
    name: "epochs",
    kind: "number",
    positive: true,
    describe: "passes over the training rows; fractions count",
  },
  { name: "optimizer", kind: "text", choices: ["adamw", "sgd"], describe: "optimiser" },
  {
    name: "schedule",
    kind: "text",
    choices: ["cosine", "plateau", "constant", "none"],
    describe: "learning-rate schedule",
    original: ["scheduler"],
  },
  {
    name: "minLearningRate",
    kind: "number",
    describe: "where cosine ends and plateau stops",
    original: ["min-lr"],
  },
  { name: "plateauPatience", kind: "count", describe: "poor epochs before plateau lowers the rate" },
  { name: "plateauFactor", kind: "number", positive: true, describe: "by what plateau multiplies the rate" },
  { name: "warmup", kind: "count", describe: "steps of linear warm-up" },
  { name: "clip", kind: "number", describe: "limit of the gradient norm; 0: none" },
  { name: "stopAt", kind: "number", describe: "accuracy that ends a run; above 1: never" },
  { name: "earlyStop", kind: "flag", describe: "end runs whose accuracy no longer rises" },
  {
    name: "stopPatience",
    kind: "count",
    positive: true,
    default: 20,
    describe: "epochs that --early-stop waits",
  },
  { name: "evaluateEvery", kind: "count", positive: true, describe: "epochs between measurements" },
  { name: "publishedData", kind: "flag", describe: "data with the published benchmark's faults" },
  {
    name: "precision",
    kind: "text",
    choices: ["32", "f32", "bf16"],
    describe: "what products are computed in: f32, or on a GPU bf16 (weights and sums stay f32)",
  },
  { name: "seed", kind: "count", describe: "seed of data, parameters and order" },
];

/** Changes of a recipe from the values of {@link RECIPE_FIELDS}. */
export function recipeOf(values: FieldValues): Partial<Recipe> {
  const { earlyStop, stopPatience, schedule, precision, ...rest } = values;
  const own = Object.fromEntries(
    RECIPE_FIELDS.flatMap(({ name }) => (name in rest ? [[name, rest[name]]] : [])),
  ) as Partial<Recipe>;
  return {
    ...own,
    ...(schedule === undefined
      ? {}
      : { schedule: (schedule === "none" ? "constant" : schedule) as Recipe["schedule"] }),
    ...(precision === "bf16" ? { precision } : {}),
    ...(earlyStop === true ? { patience: stopPatience as number } : {}),
  };
}

/** Recipes by the `compat` choice: the protocol as described, as mad-lab runs it, or both. */
export function compatRecipes(choice: string, changes: Partial<Recipe>): Partial<Recipe>[] {
  const compat = { ...changes, ...COMPAT_CHANGES };
  return choice === "both" ? [changes, compat] : [choice === "on" ? compat : changes];
}
