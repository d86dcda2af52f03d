// The curricula that tella registers and that need no Atari games, with its orders and seeds.

import { MINIGRID_TASKS } from "../environments/minigrid/tasks.ts";
import { RandomStream } from "../random/random-stream.ts";
import { condensed, dispersed, expert, interleaved, type TaskSpec, variant } from "./builders.ts";
import { block, type CurriculumEntry, DEFAULT_SCENARIO, type Length } from "./curriculum.ts";
import { limitOf, readLimits } from "./limits.ts";

const episodes = (count: number): Length => ({ count, unit: "episodes" });

/** The 18 variants of the M21 set. */
const M21: readonly TaskSpec[] = MINIGRID_TASKS.flatMap(({ name, variants }) =>
  Object.keys(variants).map((label) => ({ environment: name, variant: label })),
);
const LABELS = [...new Set(M21.map((t) => t.environment)), ...M21.map((t) => t.environment + t.variant)];
const SIMPLE: readonly TaskSpec[] = [
  { environment: "SimpleCrossing", variant: "S9N1" },
  { environment: "DistShift", variant: "R2" },
  { environment: "DynObstacles", variant: "S6N1" },
];
/** CartPole-v0 under the original's labels. */
const POLE: TaskSpec = { environment: "CartPole", variant: "Default", parameters: { maxSteps: 200 } };
const M21_LENGTHS = { learn: episodes(1000), evaluate: episodes(100) };
const MINIGRID_SCENARIO = { complexity: "3-high", difficulty: "2-medium" };

const SIMPLE_CARTPOLE: CurriculumEntry = {
  name: "SimpleCartPole",
  about: "One learn block of 5 CartPole episodes, one evaluation of 1.",
  make({ seed }) {
    const random = new RandomStream(seed);
    const [learn, evaluate] = [random.raw(), random.raw()];
    const blocks = [
      block("learn", [variant(POLE, episodes(5), learn)]),
      block("evaluate", [variant(POLE, episodes(1), evaluate)]),
    ];
    return { name: "SimpleCartPole", seed, scenario: DEFAULT_SCENARIO, blocks };
  },
};

const CARTPOLE_1000: CurriculumEntry = {
  name: "CartPole-1000",
  about: "Ten learn blocks of 100 CartPole episodes with evaluations of 10 between them.",
  make: ({ seed }) =>
    interleaved(
      {
        name: "CartPole-1000",
        seed,
        tasks: [POLE],
        learn: episodes(100),
        evaluate: episodes(10),
        evaluationSeeds: "shared",
      },
      "custom",
      10,
      () => [[POLE, episodes(100)]],
    ),
};

function simpleMinigrid(name: string, learn: Length, about: string): CurriculumEntry {
  return {
    name,
    about,
    make: ({ seed }) =>
      condensed({
        name,
        seed,
        tasks: SIMPLE,
        learn,
        evaluate: episodes(5),
        evaluationSeeds: "shared",
        order: "permuted",
      }),
  };
}

function limited(config: Parameters<typeof readLimits>[0]): { tasks: TaskSpec[]; rounds: number | null } {
  const limits = readLimits(config, LABELS);
  const tasks = M21.map((task) => ({
    ...task,
    learn: limitOf(limits, task.environment, task.variant!, M21_LENGTHS.learn),
  }));
  return { tasks, rounds: limits.rounds };
}

const CONDENSED: CurriculumEntry = {
  name: "MiniGridCondensed",
  about: "The 18 M21 variants in a drawn order, 1000 episodes each, all evaluated for 100 between them.",
  make: ({ seed, config }) =>
    condensed({
      name: "MiniGridCondensed",
      seed,
      ...M21_LENGTHS,
      tasks: limited(config).tasks,
      order: "permuted",
      scenario: { ...MINIGRID_SCENARIO, scenario_type: "condensed" },
    }),
};

const DISPERSED: CurriculumEntry = {
  name: "MiniGridDispersed",
  about: "The 18 M21 variants spread over three rounds, each in a drawn order.",
  make({ seed, config }) {
    const { tasks, rounds } = limited(config);
    const name = "MiniGridDispersed";
    return dispersed({ name, seed, ...M21_LENGTHS, tasks, rounds: rounds ?? 3, scenario: MINIGRID_SCENARIO });
  },
};

function m21Expert(index: number): CurriculumEntry {
  const { environment, variant: label } = M21[index]!;
  const name = `MiniGrid${environment}${label}`;
  return {
    name,
    about: `Single-task expert of ${environment} ${label}; all 18 variants are evaluated.`,
    make({ seed, config }) {
      const { tasks } = limited(config);
      return expert({
        name,
        seed,
        ...M21_LENGTHS,
        tasks,
        expertOf: tasks[index]!,
        scenario: MINIGRID_SCENARIO,
      });
    },
  };
}

/** 24 curricula under the original's names. */
export const TELLA_CURRICULA: readonly CurriculumEntry[] = [
  SIMPLE_CARTPOLE,
  CARTPOLE_1000,
  simpleMinigrid("SimpleMiniGrid", episodes(5), "Three MiniGrid variants in a drawn order, 5 episodes each."),
  simpleMinigrid("SimpleStepMiniGrid", { count: 5000, unit: "steps" }, "The same by steps: 5000 each."),
  CONDENSED,
  DISPERSED,
  ...M21.map((_, index) => m21Expert(index)),
];
