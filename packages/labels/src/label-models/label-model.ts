import { DataError } from "@everlong/core";
import type { Votes } from "../votes/votes.ts";

/** What every label model may be told about the classes. */
export interface LabelModelFit {
  /** P(Y), `[classes]`. Default uniform, or what the model learns. */
  readonly classBalance?: ArrayLike<number>;
  /** Labels of the items of `devVotes`; only some models use them. */
  readonly devLabels?: ArrayLike<number>;
}

/**
 * A label model turns votes into probabilistic labels without knowing the truth.
 * One contract for all: {@link fit} on unlabelled votes, then {@link predictProba} on any votes of the same functions.
 */
export interface LabelModel {
  /** Learns from votes; may be called again with other votes. */
  fit(votes: Votes, options?: LabelModelFit): this;
  /** P(Y = c | votes), `[N, classes]`, rows summing to 1. An item without votes gets the class balance. */
  predictProba(votes: Votes): Float64Array;
  /** The model's weight for each function, `[M]`: its estimated accuracy where it votes. */
  accuracies(): Float64Array;
  /** Everything learned, as plain JSON. */
  state(): ModelState;
  /** Takes back what {@link state} gave, of a model made with the same options. */
  restore(state: ModelState): this;
}

/** Numbers by name; nested where a model holds models. */
export interface ModelState {
  readonly [name: string]: number | readonly number[] | readonly ModelState[];
}

/** A list of numbers out of a state. @throws DataError when it is missing. */
export function stateNumbers(state: ModelState, name: string): Float64Array {
  const value = state[name];
  if (!Array.isArray(value) || value.some((x) => typeof x !== "number"))
    throw new DataError("label-model", `the saved model lacks "${name}"`, {
      expected: "a list of numbers",
      got: typeof value,
    });
  return Float64Array.from(value as number[]);
}

/** The most probable class of each row of `[N, classes]` probabilities; `ABSTAIN` (-1) where the best two tie, unless `ties` is `first`. */
export function decide(
  probabilities: ArrayLike<number>,
  classes: number,
  ties: "abstain" | "first" = "abstain",
): Int16Array {
  const n = probabilities.length / classes;
  const out = new Int16Array(n);
  for (let i = 0; i < n; i++) {
    let best = 0;
    let tied = false;
    for (let c = 1; c < classes; c++) {
      const gap = probabilities[i * classes + c]! - probabilities[i * classes + best]!;
      if (gap > 1e-9) [best, tied] = [c, false];
      else if (gap > -1e-9) tied = true;
    }
    out[i] = tied && ties === "abstain" ? -1 : best;
  }
  return out;
}
