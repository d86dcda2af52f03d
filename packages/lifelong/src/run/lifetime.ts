// One agent's way through one curriculum.

import { EverlongError } from "@everlong/core";
import { type Block, type Curriculum, type TaskVariant } from "../curriculum/curriculum.ts";
import type { Environment, Observation } from "../environments/environment.ts";
import { makeEnvironment } from "../environments/registry.ts";
import type { LogWriter } from "../logs/writer.ts";
import type { Agent, Transition } from "./agent.ts";

/** Something that happened in a lifetime, for progress displays. */
export type LifetimeEvent =
  | {
      readonly type: "block";
      readonly block: number;
      readonly blocks: number;
      readonly kind: Block["kind"];
      readonly tasks: readonly string[];
    }
  | {
      readonly type: "experience";
      readonly block: number;
      readonly kind: Block["kind"];
      readonly task: string;
      readonly experience: number;
      readonly reward: number;
      readonly steps: number;
      readonly complete: boolean;
      /** {@link Agent.status} of the moment. */
      readonly status?: Readonly<Record<string, number>>;
    }
  | { readonly type: "block-end"; readonly block: number; readonly blocks: number };

export interface LifetimeOptions {
  readonly agent: Agent;
  readonly curriculum: Curriculum;
  readonly writer: LogWriter;
  /** Parallel environments; default 1. */
  readonly environments?: number;
  /** Blocks that an earlier process finished, and experiences it logged. */
  readonly from?: { readonly blocks: number; readonly experiences: number };
  readonly onEvent?: (event: LifetimeEvent) => void;
  /** Called with the first environment after each step. */
  readonly onStep?: (environment: Environment) => void;
  /** Called after each block with what `from` needs to go on there. */
  readonly onBlockEnd?: (done: { blocks: number; experiences: number }) => void | Promise<void>;
}

/** Runs a lifetime to its end and returns the number of experiences logged. */
export async function runLifetime(options: LifetimeOptions): Promise<number> {
  const { agent, curriculum, environments = 1, from = { blocks: 0, experiences: 0 }, onEvent } = options;
  const blocks = curriculum.blocks.length;
  let experiences = from.experiences;
  for (const [b, block] of curriculum.blocks.entries()) {
    if (b < from.blocks) continue;
    const { kind, taskBlocks } = block;
    onEvent?.({ type: "block", block: b, blocks, kind, tasks: taskBlocks.map(({ task }) => task) });
    await agent.blockStart?.(kind);
    for (const { task, variants } of taskBlocks) {
      await agent.taskStart?.(task);
      for (const variant of variants) {
        await agent.variantStart?.(task, variant.variant);
        const log = new ExperienceLog(options, b, kind, variant, environments, experiences);
        await runVariant(options, variant, environments, kind === "learn", log);
        experiences = log.end();
        await agent.variantEnd?.(task, variant.variant);
      }
      await agent.taskEnd?.(task);
    }
    await agent.blockEnd?.(kind);
    options.writer.close();
    onEvent?.({ type: "block-end", block: b, blocks });
    await options.onBlockEnd?.({ blocks: b + 1, experiences });
  }
  return experiences;
}

// Environments step together. One whose share of the limit is used up is masked: it is not stepped, and the agent sees
// null for it. In episodes, each environment owns the next episode number when it starts one; in steps, the last
// environments are masked in the last round.
async function runVariant(
  options: LifetimeOptions,
  variant: TaskVariant,
  count: number,
  learning: boolean,
  log: ExperienceLog,
): Promise<void> {
  const { agent, onStep } = options;
  const list = Array.from({ length: count }, () => makeEnvironment(variant.environment, variant.parameters));
  const observations: Observation[] = list.map(
    (env, i) => env.reset({ seed: variant.seed + BigInt(i) }).observation,
  );
  const { count: limit, unit } = variant.length;
  const episode = list.map((_, i) => i);
  let nextEpisode = count;
  const used = { episodes: 0, steps: 0 };
  while (used[unit] < limit) {
    const masked = list.map((_, i) => (unit === "episodes" ? episode[i]! >= limit : i >= limit - used.steps));
    const actions = await agent.chooseActions(observations.map((o, i) => (masked[i] ? null : o)));
    const transitions = list.map((env, i): Transition | null => {
      if (masked[i]) return null;
      const action = actions[i];
      if (typeof action !== "number") {
        throw new EverlongError("run", `agent ${agent.name} gave no action for environment ${i}`, {
          got: JSON.stringify(action),
        });
      }
      const { observation: nextObservation, reward, terminated, truncated } = env.step(action);
      const done = terminated || truncated;
      const observation = observations[i]!;
      observations[i] = done ? env.reset().observation : nextObservation;
      used.steps++;
      if (done) {
        used.episodes++;
        episode[i] = nextEpisode++;
      }
      return { observation, action, reward, done, terminated, nextObservation };
    });
    onStep?.(list[0]!);
    log.add(transitions);
    await agent.receiveTransitions(learning ? transitions : transitions.map(withoutReward));
  }
  for (const env of list) env.close?.();
}

function withoutReward(transition: Transition | null): Transition | null {
  return transition && { ...transition, reward: null };
}

/** Sums rewards into episodes and logs them as they end. */
class ExperienceLog {
  readonly #options: LifetimeOptions;
  readonly #block: number;
  readonly #kind: Block["kind"];
  readonly #variant: TaskVariant;
  readonly #returns: number[];
  readonly #steps: number[];
  #experience: number;

  constructor(
    options: LifetimeOptions,
    block: number,
    kind: Block["kind"],
    variant: TaskVariant,
    environments: number,
    experience: number,
  ) {
    this.#options = options;
    this.#block = block;
    this.#kind = kind;
    this.#variant = variant;
    this.#returns = Array.from({ length: environments }, () => 0);
    this.#steps = Array.from({ length: environments }, () => 0);
    this.#experience = experience;
  }

  add(transitions: readonly (Transition | null)[]): void {
    for (const [i, transition] of transitions.entries()) {
      if (transition === null) continue;
      this.#returns[i]! += transition.reward ?? 0;
      this.#steps[i]!++;
      if (transition.done) this.#write(i, true);
    }
  }

  /** Logs episodes that the limit cut as incomplete; returns the next experience number. */
  end(): number {
    for (const [i, steps] of this.#steps.entries()) if (steps > 0) this.#write(i, false);
    return this.#experience;
  }

  #write(i: number, complete: boolean): void {
    const { task, variant, parameters } = this.#variant;
    const [reward, steps] = [this.#returns[i]!, this.#steps[i]!];
    this.#options.writer.write({
      block_num: this.#block,
      block_type: this.#kind === "learn" ? "train" : "test",
      task_name: `${task}_${variant}`,
      task_params: parameters,
      exp_num: this.#experience,
      reward,
      exp_status: complete ? "complete" : "incomplete",
      episode_step_count: steps,
    });
    const status = this.#options.agent.status?.();
    this.#options.onEvent?.({
      type: "experience",
      block: this.#block,
      kind: this.#kind,
      task: `${task}_${variant}`,
      experience: this.#experience,
      reward,
      steps,
      complete,
      ...(status === undefined ? {} : { status }),
    });
    this.#experience++;
    this.#returns[i] = 0;
    this.#steps[i] = 0;
  }
}
