// What an agent is to a lifetime: events of the curriculum, actions for observations, transitions back.

import type { Action, BoxSpace, DiscreteSpace, Observation } from "../environments/environment.ts";
import type { Block } from "../curriculum/curriculum.ts";

/** One step of one environment. */
export interface Transition {
  readonly observation: Observation;
  readonly action: Action;
  /** Null in evaluation blocks: an agent cannot learn from them. */
  readonly reward: number | null;
  /** The episode is over. */
  readonly done: boolean;
  /** It is over because the task ended, not because a limit cut it: no return follows. */
  readonly terminated: boolean;
  /** Last observation of the episode where it is over, else the next one. */
  readonly nextObservation: Observation;
}

/** Agent state between blocks, for resuming. */
export type AgentState = Uint8Array;

/**
 * An agent. Lists have one entry an environment, null where the environment is masked: the curriculum's limit leaves
 * nothing for it to do.
 */
export interface Agent {
  readonly name: string;
  blockStart?(kind: Block["kind"]): void | Promise<void>;
  taskStart?(task: string): void | Promise<void>;
  variantStart?(task: string, variant: string): void | Promise<void>;
  /** Actions for observations; entries at null observations are not used. */
  chooseActions(
    observations: readonly (Observation | null)[],
  ): readonly (Action | null)[] | Promise<readonly (Action | null)[]>;
  receiveTransitions(transitions: readonly (Transition | null)[]): void | Promise<void>;
  variantEnd?(task: string, variant: string): void | Promise<void>;
  taskEnd?(task: string): void | Promise<void>;
  blockEnd?(kind: Block["kind"]): void | Promise<void>;
  /** Everything that a later lifetime process needs to go on from here. */
  save?(): AgentState | Promise<AgentState>;
  load?(state: AgentState): void | Promise<void>;
  /** Facts worth showing while it runs, by name. */
  status?(): Readonly<Record<string, number>>;
  dispose?(): void;
}

/** What an agent is made for. */
export interface AgentContext {
  readonly seed: bigint;
  readonly observationSpace: BoxSpace;
  readonly actionSpace: DiscreteSpace;
  /** Number of parallel environments. */
  readonly environments: number;
}

/** Option of an agent, from which its command line and checks are made. */
export interface AgentOption {
  readonly default: number | string | boolean;
  readonly about: string;
  readonly min?: number;
  readonly max?: number;
  readonly choices?: readonly string[];
}

/** A registered agent. */
export interface AgentEntry {
  readonly name: string;
  readonly about: string;
  readonly options: Readonly<Record<string, AgentOption>>;
  make(
    context: AgentContext,
    options: Readonly<Record<string, number | string | boolean>>,
  ): Agent | Promise<Agent>;
}
