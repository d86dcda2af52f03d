import { ConfigError } from "@everlong/core";
import { environmentEntry, resolveParameters } from "../environments/registry.ts";
import { RandomStream, type Seed } from "../random/random-stream.ts";
import {
  type Block,
  block,
  type Curriculum,
  DEFAULT_SCENARIO,
  type Length,
  type Scenario,
  type TaskVariant,
} from "./curriculum.ts";

/** A task variant without place in a curriculum: no seed, no length. */
export interface TaskSpec {
  /** Registered environment; also the task label unless given. */
  readonly environment: string;
  readonly task?: string;
  /** Variant label; one of the environment's own brings its parameters. Default "Default". */
  readonly variant?: string;
  readonly parameters?: Readonly<Record<string, number>>;
  /** Length in learn blocks, instead of the curriculum's. */
  readonly learn?: Length;
}

/** What all builders take. */
export interface BuilderOptions {
  readonly name: string;
  readonly seed: Seed;
  readonly tasks: readonly TaskSpec[];
  /** Length of a task variant in learn blocks. */
  readonly learn: Length;
  /** Length of each variant in the evaluation block that stands before, between and after learn blocks. */
  readonly evaluate: Length;
  /** Whether evaluated variants share one seed, or each has its own. The same in every evaluation. Default own. */
  readonly evaluationSeeds?: "own" | "shared";
  readonly scenario?: Partial<Scenario>;
}

/** Order of tasks: as listed, or drawn from the seed. */
export type TaskOrder = "given" | "permuted";

/** Every variant is trained once, in one stretch. */
export function condensed(options: BuilderOptions & { readonly order?: TaskOrder }): Curriculum {
  const { order = "given" } = options;
  return interleaved(options, order === "permuted" ? "permuted" : "condensed", 1, (random) => {
    const tasks = order === "permuted" ? random.permutation(options.tasks) : options.tasks;
    return tasks.map((task) => [task, task.learn ?? options.learn]);
  });
}

/** {@link condensed} in an order drawn from the seed. */
export function permuted(options: BuilderOptions): Curriculum {
  return condensed({ ...options, order: "permuted" });
}

/**
 * Every variant's length is spread over several rounds, each in an order of its own; what does not divide goes to the
 * first rounds.
 */
export function dispersed(
  options: BuilderOptions & { readonly rounds: number; readonly order?: TaskOrder },
): Curriculum {
  const { rounds, order = "permuted" } = options;
  positive("rounds", rounds);
  return interleaved(options, "dispersed", rounds, (random, round) => {
    const tasks = order === "permuted" ? random.permutation(options.tasks) : options.tasks;
    return tasks.map((task) => {
      const { count, unit } = task.learn ?? options.learn;
      return [task, { unit, count: Math.floor(count / rounds) + Number(round < count % rounds) }];
    });
  });
}

/** The variants in turn, each at full length, round after round: A B A B. */
export function alternating(options: BuilderOptions & { readonly rounds: number }): Curriculum {
  positive("rounds", options.rounds);
  return interleaved(options, "alternating", options.rounds, () =>
    options.tasks.map((task) => [task, task.learn ?? options.learn]),
  );
}

/** A single-task expert: one variant, evaluated before and after. `tasks` are what is evaluated. */
export function expert(options: BuilderOptions & { readonly expertOf: TaskSpec }): Curriculum {
  const { expertOf } = options;
  return interleaved(options, "ste", 1, () => [[expertOf, expertOf.learn ?? options.learn]]);
}

/**
 * Learn blocks of one variant each, with the same evaluation before, between and after them.
 *
 * @param plan the variants of a round with their lengths; asked round by round, since a round's order is drawn after
 *   the seeds of the one before
 */
export function interleaved(
  options: BuilderOptions,
  scenarioType: string,
  rounds: number,
  plan: (random: RandomStream, round: number) => readonly (readonly [TaskSpec, Length])[],
): Curriculum {
  const { name, tasks, evaluate, evaluationSeeds = "own" } = options;
  if (tasks.length === 0) throw new ConfigError(`curriculum ${name}`, "has no tasks");
  const seed = BigInt(options.seed);
  const random = new RandomStream(seed);
  // drawn before anything else, as the original does
  const evaluationSeed = random.raw();
  const own = new RandomStream(evaluationSeed);
  const evaluation = block(
    "evaluate",
    tasks.map((task) => variant(task, evaluate, evaluationSeeds === "own" ? own.raw() : evaluationSeed)),
  );
  const blocks: Block[] = [evaluation];
  for (let round = 0; round < rounds; round++) {
    for (const [task, length] of plan(random, round)) {
      const seed = random.raw();
      // a short length spread over many rounds leaves nothing for the last ones
      if (length.count > 0) blocks.push(block("learn", [variant(task, length, seed)]), evaluation);
    }
  }
  return {
    name,
    seed,
    scenario: { ...DEFAULT_SCENARIO, scenario_type: scenarioType, ...options.scenario },
    blocks,
  };
}

/** A variant with seed and length; a variant label of the environment's own brings its parameters. */
export function variant(spec: TaskSpec, length: Length, seed: bigint): TaskVariant {
  const entry = environmentEntry(spec.environment);
  const label = spec.variant ?? "Default";
  const parameters = { ...entry.variants[label], ...spec.parameters };
  resolveParameters(entry, parameters);
  return { task: spec.task ?? entry.name, variant: label, environment: entry.name, parameters, seed, length };
}

function positive(name: string, value: number): void {
  if (!(Number.isInteger(value) && value > 0)) {
    throw new ConfigError("curriculum", `${name} is not a positive integer`, { got: String(value) });
  }
}
