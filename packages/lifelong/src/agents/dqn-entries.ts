import type { AgentEntry, AgentOption } from "../run/agent.ts";
import { Dqn, type DqnOptions } from "./dqn.ts";
import { networkOptions } from "./network-options.ts";
import { REPLAY_MODES } from "./replay.ts";

const OPTIONS: { readonly [K in keyof DqnOptions]: AgentOption } = {
  learningRate: { default: 5e-4, min: 1e-7, max: 1, about: "of AdamW without decay" },
  discount: { default: 0.99, min: 0, max: 1, about: "of future rewards" },
  batch: { default: 64, min: 1, max: 4096, about: "transitions in an update" },
  capacity: { default: 60_000, min: 10, max: 5_000_000, about: "transitions in the replay memory" },
  warmup: { default: 500, min: 1, max: 1_000_000, about: "transitions before the first update" },
  updatesPerStep: { default: 0.5, min: 0.001, max: 8, about: "updates an environment step" },
  targetEvery: { default: 1, min: 1, max: 100_000, about: "updates between moves of the target network" },
  targetRate: { default: 0.005, min: 1e-6, max: 1, about: "how far it moves; 1 copies" },
  epsilonStart: { default: 1, min: 0, max: 1, about: "exploration when a task begins" },
  epsilonEnd: { default: 0.02, min: 0, max: 1, about: "exploration later; evaluation has none" },
  epsilonSteps: { default: 3000, min: 1, max: 10_000_000, about: "steps from one to the other" },
  ...networkOptions(128),
  replay: { default: "fifo", choices: REPLAY_MODES, about: "old tasks' transitions: clear, fifo or tasks" },
  archive: {
    default: 2000,
    min: 1,
    max: 1_000_000,
    about: "transitions kept of each task with replay=tasks",
  },
  archiveShare: { default: 0.5, min: 0, max: 1, about: "share of a batch from old tasks" },
  consolidation: { default: 0, min: 0, max: 1e9, about: "strength of elastic weight consolidation" },
  fisherSamples: { default: 256, min: 1, max: 100_000, about: "transitions that weigh the parameters" },
  clip: { default: 10, min: 1e-6, max: 1e9, about: "limit of the gradient norm" },
};

function entry(
  name: string,
  about: string,
  changes: Partial<Record<keyof DqnOptions, number | string>>,
): AgentEntry {
  const options = Object.fromEntries(
    Object.entries(OPTIONS).map(([key, spec]) => [
      key,
      { ...spec, default: changes[key as keyof DqnOptions] ?? spec.default },
    ]),
  );
  return {
    name,
    about,
    options,
    make: (context, given) => new Dqn(name, context, given as unknown as DqnOptions),
  };
}

/** Deep Q-learning, plain and with two remedies for forgetting. */
export const DQN_AGENTS: readonly AgentEntry[] = [
  entry("DQN", "Deep Q-learning with double targets.", {}),
  entry("DQN-Replay", "DQN that replays an archive of every task it has left.", { replay: "tasks" }),
  entry("DQN-EWC", "DQN that consolidates the weights which mattered to earlier tasks.", {
    replay: "clear",
    consolidation: 10,
  }),
];
