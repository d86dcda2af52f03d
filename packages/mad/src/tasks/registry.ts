import { ConfigError, nearest } from "@everlong/core";
import { compression } from "./compression.ts";
import { fuzzyInContextRecall } from "./fuzzy-in-context-recall.ts";
import { inContextRecall } from "./in-context-recall.ts";
import { memorization } from "./memorization.ts";
import { noisyInContextRecall } from "./noisy-in-context-recall.ts";
import { selectiveCopying } from "./selective-copying.ts";
import type { Task } from "./task.ts";

/** The tasks, in the benchmark's order. */
export const TASKS: readonly Task[] = [
  inContextRecall,
  noisyInContextRecall,
  fuzzyInContextRecall,
  memorization,
  compression,
  selectiveCopying,
];

/** The task of that name or shorthand. @throws ConfigError when there is none */
export function findTask(name: string, tasks: readonly Task[] = TASKS): Task {
  const task = tasks.find((t) => t.name === name || t.shorthand === name);
  if (task) return task;
  const names = tasks.map((t) => t.name);
  const near = nearest(name, names);
  throw new ConfigError("task", `no task "${name}"`, {
    expected: names.join(", "),
    hint: near === undefined ? "" : `Did you mean "${near}"?`,
  });
}
