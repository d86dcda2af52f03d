// The formalism (arXiv 2201.08278, section 3; tella): curriculum > block > task block > task variant > experience.

import type { Json } from "../logs/format.ts";

export type LengthUnit = "episodes" | "steps";

/** A number of episodes or steps. */
export interface Length {
  readonly count: number;
  readonly unit: LengthUnit;
}

/** A fixed number of experiences in one environment with fixed parameters. */
export interface TaskVariant {
  /** Task label. */
  readonly task: string;
  /** Variant label; logs name the task `<task>_<variant>`. */
  readonly variant: string;
  /** Name of a registered environment. */
  readonly environment: string;
  /** Parameters of the environment; the others have their defaults. */
  readonly parameters: Readonly<Record<string, number>>;
  /** Seed of the first environment; the k-th parallel one has seed + k. */
  readonly seed: bigint;
  readonly length: Length;
}

/** Consecutive variants of one task. */
export interface TaskBlock {
  readonly task: string;
  readonly variants: readonly TaskVariant[];
}

/** Task blocks in which the agent either learns or is evaluated. */
export interface Block {
  readonly kind: "learn" | "evaluate";
  readonly taskBlocks: readonly TaskBlock[];
}

/** Classes of a scenario, by which evaluations are grouped. */
export interface Scenario {
  readonly complexity: string;
  readonly difficulty: string;
  readonly scenario_type: string;
}

/** A sequence of blocks: data, the same for every agent. */
export interface Curriculum {
  readonly name: string;
  readonly seed: bigint;
  readonly scenario: Scenario;
  readonly blocks: readonly Block[];
}

/** Makes the curriculum of one lifetime. `config` is the content of a configuration file, or null. */
export type CurriculumFactory = (options: { readonly seed: bigint; readonly config: Json }) => Curriculum;

/** A registered curriculum. */
export interface CurriculumEntry {
  readonly name: string;
  readonly about: string;
  readonly make: CurriculumFactory;
}

/** Groups consecutive variants of the same task into task blocks. */
export function block(kind: Block["kind"], variants: readonly TaskVariant[]): Block {
  const taskBlocks: { task: string; variants: TaskVariant[] }[] = [];
  for (const variant of variants) {
    const last = taskBlocks.at(-1);
    if (last?.task === variant.task) last.variants.push(variant);
    else taskBlocks.push({ task: variant.task, variants: [variant] });
  }
  return { kind, taskBlocks };
}

/** Variants of a block in order. */
export function variantsOf({ taskBlocks }: Block): TaskVariant[] {
  return taskBlocks.flatMap(({ variants }) => variants);
}

export const DEFAULT_SCENARIO: Scenario = {
  complexity: "1-low",
  difficulty: "2-medium",
  scenario_type: "custom",
};
