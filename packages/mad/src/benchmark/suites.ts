// Named lists of settings: the published benchmark, its baselines, and small ones for a CPU.

import { ConfigError, nearest } from "@everlong/core";
import { findTask, TASKS } from "../tasks/registry.ts";
import type { TaskOptions } from "../tasks/options.ts";
import { MAD_SETTINGS, type MadSetting } from "../protocol.ts";
import type { Recipe } from "./recipe.ts";

export interface Suite {
  readonly name: string;
  readonly describe: string;
  readonly settings: readonly MadSetting[];
  /** Where the suite's recipe differs from the protocol's. */
  readonly recipe: Partial<Recipe>;
}

/** A setting of one's own; what is not given is the published baseline's. */
export function makeSetting(
  task: string,
  options: Partial<TaskOptions> = {},
  counts: { readonly trainCount?: number; readonly testCount?: number } = {},
): MadSetting {
  const { name, configure } = findTask(task);
  const baseline = MAD_SETTINGS.find((s) => s.task === name && !s.change)!;
  const { trainCount = baseline.trainCount, testCount = baseline.testCount } = counts;
  const merged = configure({ ...baseline.options, ...options }).options;
  const named = [
    ...Object.entries(merged).filter(([k, v]) => baseline.options[k as keyof TaskOptions] !== v),
    ...(trainCount === baseline.trainCount ? [] : [["trainCount", trainCount]]),
    ...(testCount === baseline.testCount ? [] : [["testCount", testCount]]),
  ].map(([k, v]) => `${String(k)}=${String(v)}`);
  const id = [name, ...named.toSorted()].join("/");
  return { id, task: name, options: merged, trainCount, testCount };
}

const SMALL_COUNTS = { trainCount: 3200, testCount: 256 };

/**
 * One small setting of each task, with a recipe that tells architectures apart in seconds of one core: 400 steps of 32 rows
 * at one high rate, width 32.
 */
const reduced: readonly MadSetting[] = [
  makeSetting("in-context-recall", { seqLen: 32 }, SMALL_COUNTS),
  makeSetting("noisy-in-context-recall", { seqLen: 32 }, SMALL_COUNTS),
  makeSetting("fuzzy-in-context-recall", { seqLen: 32 }, SMALL_COUNTS),
  makeSetting("memorization", { vocabSize: 256, seqLen: 32 }, { trainCount: 1600, testCount: 256 }),
  makeSetting("compression", { seqLen: 16 }, SMALL_COUNTS),
  makeSetting("selective-copying", { seqLen: 32, numTokensToCopy: 6 }, SMALL_COUNTS),
];

/** The suites, the published benchmark first. */
export const SUITES: readonly Suite[] = [
  {
    name: "full",
    describe: `the published benchmark: ${MAD_SETTINGS.length} settings`,
    settings: MAD_SETTINGS,
    recipe: {},
  },
  {
    name: "baselines",
    describe: "the six baselines of the published benchmark",
    settings: MAD_SETTINGS.filter((s) => !s.change),
    recipe: {},
  },
  ...TASKS.map((task): Suite => ({
    name: task.name,
    describe: `the published settings of ${task.name}`,
    settings: MAD_SETTINGS.filter((s) => s.task === task.name),
    recipe: {},
  })),
  {
    name: "reduced",
    describe: "one small setting of each task, for a CPU",
    settings: reduced,
    recipe: {
      dim: 32,
      batch: 32,
      epochs: 4,
      warmup: 20,
      clip: 1,
      learningRates: [5e-3],
      weightDecays: [0],
      stopAt: 0.999,
    },
  },
];

/** The suite of that name. @throws ConfigError when there is none */
export function findSuite(name: string): Suite {
  const found = SUITES.find((s) => s.name === name);
  if (found) return found;
  const names = SUITES.map((s) => s.name);
  const near = nearest(name, names);
  throw new ConfigError("mad suite", `no suite "${name}"`, {
    expected: names.join(", "),
    ...(near ? { hint: `Did you mean "${near}"?` } : {}),
  });
}

/**
 * Settings whose id matches one of the patterns, where `*` stands for anything and a task's shorthand for its name:
 * `CR`, `CR/vocabSize=*`, `memorization*`. A task alone is its baseline, or all its settings where the suite has none.
 * @throws ConfigError for a pattern that matches nothing
 */
export function selectSettings<S extends { readonly id: string }>(
  settings: readonly S[],
  patterns: readonly string[],
): readonly S[] {
  if (patterns.length === 0) return settings;
  const chosen = new Set<S>();
  for (const pattern of patterns) {
    const [head = "", ...rest] = pattern.split("/");
    const [, word = head, star = ""] = /^(.*?)(\*?)$/.exec(head) ?? [];
    const task = (TASKS.find((t) => t.shorthand === word)?.name ?? word) + star;
    const text = [task, ...rest].join("/").replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
    const wanted = new RegExp(`^${text.replaceAll(String.raw`\*`, ".*")}$`);
    const exact = settings.filter((s) => wanted.test(s.id));
    // A suite without the task's baseline has other settings of it.
    const found = exact.length > 0 ? exact : settings.filter((s) => s.id.startsWith(`${task}/`));
    if (found.length === 0) {
      const ids = settings.map((s) => s.id);
      const near = nearest([task, ...rest].join("/"), ids);
      throw new ConfigError("mad settings", `no setting matches "${pattern}"`, {
        hint: near ? `Did you mean "${near}"?` : `Settings look like "${ids[0]}".`,
      });
    }
    found.forEach((s) => chosen.add(s));
  }
  return settings.filter((s) => chosen.has(s));
}
