// The contract of a MAD task: a named value that turns options and random draws into rows of tokens.
// M. Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures" (2024), https://arxiv.org/abs/2403.17844.

import { ConfigError } from "@everlong/core";
import { resolveTaskOptions, type TaskOptionName, type TaskOptions } from "./options.ts";
import type { TaskRandom } from "./random.ts";

export type Split = "train" | "test";

/** Target at positions that do not count. */
export const IGNORE_INDEX = -100;

/** What holds for all rows of a data set. */
export interface TaskContext {
  /** Seed of whatever is fixed across rows (memorization's map). */
  readonly seed: number;
  /** Whether to repeat the known faults of mad-lab's generators; each task's docs name them. */
  readonly compat: boolean;
}

/** Writes one example into `inputs` and `targets`, both `[T]` and freshly of the task's length. */
export type MakeRow = (random: TaskRandom, split: Split, inputs: Int32Array, targets: Int32Array) => void;

/** How to write a task down; {@link defineTask} makes a {@link Task} of it. */
export interface TaskDefinition<K extends TaskOptionName> {
  /** Name as in mad-lab, e.g. "in-context-recall". */
  readonly name: string;
  readonly shorthand: string;
  /** One or two sentences for help texts. */
  readonly describe: string;
  /** The backbone that the benchmark trains on it. */
  readonly backbone: "language-model" | "autoencoder";
  /** The options it takes, with the values of the published baseline. */
  readonly defaults: Pick<TaskOptions, K>;
  /** What must hold between options: pairs of a fact and what to say when it is false. */
  readonly rules: (o: Pick<TaskOptions, K>) => readonly (readonly [boolean, string])[];
  /** Tokens of a row, which for shifted tasks is one less than seqLen. */
  readonly length: (o: Pick<TaskOptions, K>) => number;
  readonly rows: (o: Pick<TaskOptions, K>, context: TaskContext) => MakeRow;
}

/** A task with its options settled. */
export interface ConfiguredTask {
  readonly options: Partial<TaskOptions>;
  /** Tokens of a row: T. */
  readonly length: number;
  readonly rows: (context: TaskContext) => MakeRow;
}

/** An entry of the task registry. */
export interface Task {
  readonly name: string;
  readonly shorthand: string;
  readonly describe: string;
  readonly backbone: "language-model" | "autoencoder";
  readonly defaults: Partial<TaskOptions>;
  readonly optionNames: readonly TaskOptionName[];
  /** Settles options. @throws ConfigError for unknown options, wrong values, or values that do not fit together */
  readonly configure: (given?: Partial<TaskOptions>) => ConfiguredTask;
}

/** Makes a registry entry from a definition. */
export function defineTask<K extends TaskOptionName>(definition: TaskDefinition<K>): Task {
  const { name, defaults, rules } = definition;
  return {
    name,
    shorthand: definition.shorthand,
    describe: definition.describe,
    backbone: definition.backbone,
    defaults,
    optionNames: Object.keys(defaults) as TaskOptionName[],
    configure(given = {}) {
      const options = resolveTaskOptions(name, defaults, given);
      for (const [holds, otherwise] of rules(options)) {
        if (!holds) throw new ConfigError(name, otherwise, { got: JSON.stringify(options) });
      }
      return {
        options,
        length: definition.length(options),
        rows: (context) => definition.rows(options, context),
      };
    },
  };
}

/** The rules of tasks with a noise vocabulary. */
export function noiseRules(o: Pick<TaskOptions, "fracNoise" | "noiseVocabSize">): [boolean, string][] {
  return [
    [o.fracNoise === 0 || o.noiseVocabSize > 0, "noise needs a vocabulary: noiseVocabSize must be > 0"],
  ];
}
