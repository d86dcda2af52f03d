// Data sets of tasks: `[N, T]` tokens and targets, made as mad-lab makes them or row by row from a key.

import { checkOptions, ConfigError } from "@everlong/core";
import type { TaskOptions } from "./options.ts";
import { KeyedRandom, OriginalRandom } from "./random.ts";
import { findTask } from "./registry.ts";
import type { ConfiguredTask, Split, Task } from "./task.ts";

/**
 * How rows get their randomness.
 * - `original`: the streams of mad-lab, bit for bit. Rows depend on all rows before them, test rows on the number of
 *   training rows.
 * - `keyed`: each row from (seed, split, index) alone. Workers can share the rows out, and a test set never repeats
 *   the training set because it was made separately.
 */
export type Seeding = "original" | "keyed";

/** What to generate. */
export interface GenerateOptions {
  /** A task, its name or its shorthand. */
  readonly task: Task | string;
  /** Task options; the rest are the published baseline's. */
  readonly options?: Partial<TaskOptions>;
  /** Default 12345, the benchmark's. */
  readonly seed?: number;
  /** Seed of numpy's global stream under `original` seeding; default `seed`, as mad-lab's trainer sets it. */
  readonly globalSeed?: number;
  /** Default "original". */
  readonly seeding?: Seeding;
  /** Whether to repeat mad-lab's faults (see each task); default false. */
  readonly compat?: boolean;
}

/** Examples of one split. */
export interface TaskData {
  readonly task: string;
  readonly split: Split;
  /** Rows: N. */
  readonly count: number;
  /** Tokens of a row: T. */
  readonly length: number;
  /** `[N, T]` token ids. */
  readonly inputs: Int32Array<ArrayBuffer>;
  /** `[N, T]` token ids, or {@link IGNORE_INDEX} where nothing is asked. */
  readonly targets: Int32Array<ArrayBuffer>;
}

const KNOWN = ["task", "options", "seed", "globalSeed", "seeding", "compat"];

/**
 * Makes a training and a test set; under `original` seeding the test set continues the training set's stream.
 *
 * @example
 * const { train, test } = generateSplits({ task: "in-context-recall" }, { train: 12_800, test: 1_280 });
 * @throws ConfigError for unknown tasks or options, or options that do not fit together
 */
export function generateSplits(
  what: GenerateOptions,
  counts: Readonly<Record<Split, number>>,
): Record<Split, TaskData> {
  const source = open(what);
  return {
    train: source.take("train", 0, checkCount(counts.train)),
    test: source.take("test", 0, checkCount(counts.test)),
  };
}

/** Which rows {@link generateSplit} makes. */
export interface SplitOptions extends GenerateOptions {
  readonly split: Split;
  readonly count: number;
  /** Index of the first row; default 0. */
  readonly start?: number;
  /**
   * For the test split under `original` seeding: how many training rows come before it in the stream. Required, for
   * with 0 the test set starts with the draws of the training set; that is how mad-lab leaks when it finds its
   * training data on disk.
   */
  readonly trainCount?: number;
}

/**
 * Makes some rows of one split. Cheap for `keyed` seeding; `original` seeding has to replay the rows before.
 *
 * @throws ConfigError as {@link generateSplits}, and without `trainCount` for an original test split
 */
export function generateSplit(what: SplitOptions): TaskData {
  const { split, count, start = 0, trainCount, ...rest } = what;
  const source = open(rest);
  checkCount(start);
  if (source.seeding === "original") {
    if (split === "test" && trainCount === undefined) {
      throw new ConfigError("generateSplit", "the original's test rows follow its training rows", {
        expected: "trainCount",
        hint: 'Give the number of training rows, or use seeding "keyed".',
      });
    }
    if (split === "test") source.skip("train", checkCount(trainCount ?? 0));
    source.skip(split, start);
  }
  return source.take(split, start, checkCount(count));
}

interface Source {
  readonly seeding: Seeding;
  skip(split: Split, count: number): void;
  take(split: Split, start: number, count: number): TaskData;
}

function open(what: GenerateOptions): Source {
  checkOptions("generate", what, KNOWN);
  const { seed = 12345, globalSeed, seeding = "original", compat = false } = what;
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new ConfigError("generate", "seed out of range", { expected: "an integer >= 0", got: `${seed}` });
  }
  if (seeding !== "original" && seeding !== "keyed") {
    throw new ConfigError("generate", "unknown seeding", {
      expected: "original or keyed",
      got: String(seeding),
    });
  }
  const task = typeof what.task === "string" ? findTask(what.task) : what.task;
  const configured = task.configure(what.options);
  const makeRow = configured.rows({ seed, compat });
  const stream = seeding === "original" ? new OriginalRandom(seed, globalSeed ?? seed % 2 ** 32) : undefined;
  const make = (split: Split, index: number, inputs: Int32Array, targets: Int32Array): void =>
    makeRow(stream ?? new KeyedRandom(seed, split, index), split, inputs, targets);
  return {
    seeding,
    skip(split, count) {
      const scratch = emptyRows(task, configured, split, 1);
      for (let i = 0; i < count; i++) make(split, i, scratch.inputs, scratch.targets);
    },
    take(split, start, count) {
      const data = emptyRows(task, configured, split, count);
      const { inputs, targets, length } = data;
      for (let i = 0; i < count; i++) {
        const [from, to] = [i * length, (i + 1) * length];
        make(split, start + i, inputs.subarray(from, to), targets.subarray(from, to));
      }
      return data;
    },
  };
}

function emptyRows(task: Task, { length }: ConfiguredTask, split: Split, count: number): TaskData {
  const size = count * length;
  return {
    task: task.name,
    split,
    count,
    length,
    inputs: new Int32Array(size),
    targets: new Int32Array(size),
  };
}

function checkCount(count: number): number {
  if (Number.isSafeInteger(count) && count >= 0) return count;
  throw new ConfigError("generate", "not a number of rows", { expected: "an integer >= 0", got: `${count}` });
}
