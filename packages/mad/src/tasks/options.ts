// The options of the tasks: one table of meanings, from which help texts, checks and the original's key names come.

import { checkOptions, ConfigError } from "@everlong/core";

/** Every option that some task takes. */
export interface TaskOptions {
  readonly vocabSize: number;
  readonly seqLen: number;
  readonly multiQuery: boolean;
  readonly fracNoise: number;
  readonly noiseVocabSize: number;
  readonly numTokensToCopy: number;
  readonly kMotifSize: number;
  readonly vMotifSize: number;
}

export type TaskOptionName = keyof TaskOptions;

/** What an option means and which values it takes. */
export interface TaskOptionSpec {
  /** The key in mad-lab's configurations. */
  readonly original: string;
  readonly describe: string;
  readonly kind: "count" | "fraction" | "flag";
}

/** Meaning of every task option. */
export const TASK_OPTIONS: { readonly [K in TaskOptionName]: TaskOptionSpec } = {
  vocabSize: {
    original: "vocab_size",
    kind: "count",
    describe: "tokens in all, special and noise tokens included",
  },
  seqLen: { original: "seq_len", kind: "count", describe: "tokens of a sequence" },
  multiQuery: {
    original: "multi_query",
    kind: "flag",
    describe: "ask for the value at every repetition of a key, instead of once at the end after a copy token",
  },
  fracNoise: { original: "frac_noise", kind: "fraction", describe: "share of places that hold noise" },
  noiseVocabSize: {
    original: "noise_vocab_size",
    kind: "count",
    describe: "tokens of the vocabulary that are noise",
  },
  numTokensToCopy: {
    original: "num_tokens_to_copy",
    kind: "count",
    describe: "tokens to remember and repeat",
  },
  kMotifSize: { original: "k_motif_size", kind: "count", describe: "most tokens of a key" },
  vMotifSize: { original: "v_motif_size", kind: "count", describe: "most tokens of a value" },
};

/**
 * Fills in defaults and checks each option by its kind.
 *
 * @throws ConfigError for an option the task does not have, or a value of the wrong kind
 */
export function resolveTaskOptions<K extends TaskOptionName>(
  task: string,
  defaults: Pick<TaskOptions, K>,
  given: Partial<TaskOptions>,
): Pick<TaskOptions, K> {
  checkOptions(task, given, Object.keys(defaults));
  const options = { ...defaults };
  for (const name of Object.keys(given) as K[]) {
    const value = given[name];
    if (value === undefined) continue;
    const kind = TASK_OPTIONS[name].kind;
    if (!KINDS[kind].test(value)) {
      throw new ConfigError(task, `option "${name}" is out of range`, {
        expected: KINDS[kind].expected,
        got: JSON.stringify(value),
      });
    }
    options[name] = value as TaskOptions[K];
  }
  return options;
}

/** The options in `config` (keys as in mad-lab) that a task has; its other keys are left out. */
export function optionsFromOriginal(
  names: readonly TaskOptionName[],
  config: Readonly<Record<string, unknown>>,
): Partial<TaskOptions> {
  const found = names.filter((name) => config[TASK_OPTIONS[name].original] !== undefined);
  return Object.fromEntries(found.map((name) => [name, config[TASK_OPTIONS[name].original]]));
}

const KINDS = {
  count: { test: (v: unknown) => Number.isSafeInteger(v) && (v as number) >= 0, expected: "an integer >= 0" },
  fraction: {
    test: (v: unknown) => typeof v === "number" && v >= 0 && v <= 1,
    expected: "a number from 0 to 1",
  },
  flag: { test: (v: unknown) => typeof v === "boolean", expected: "true or false" },
} as const;
