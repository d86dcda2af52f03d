// The contract of an environment: Gymnasium's reset and step, with typed arrays.

import type { Seed } from "../random/random-stream.ts";

/** Points of a box, flattened row by row; pixels and codes are bytes, the rest floats. */
export interface BoxSpace {
  readonly kind: "box";
  readonly shape: readonly number[];
  readonly dtype: "f32" | "u8";
  /** Bounds of every entry, or one list of each. */
  readonly low: number | readonly number[];
  readonly high: number | readonly number[];
  /** For bytes that are codes: the number of codes of each entry along the last axis; agents make one-hots of them. */
  readonly codes?: readonly number[];
}

/** Integers 0 to n - 1. */
export interface DiscreteSpace {
  readonly kind: "discrete";
  readonly n: number;
}

export type Observation = Float32Array | Uint8Array;
export type Action = number;

export interface ResetResult {
  readonly observation: Observation;
}

export interface StepResult {
  readonly observation: Observation;
  readonly reward: number;
  /** The task ended here: no return follows. */
  readonly terminated: boolean;
  /** A limit cut the episode: a return would have followed. */
  readonly truncated: boolean;
}

/**
 * One environment. Observations are fresh arrays: agents may keep them.
 *
 * `reset({seed})` restarts the random stream; `reset()` goes on with it, so a seed fixes all episodes that follow.
 */
export interface Environment {
  readonly observationSpace: BoxSpace;
  readonly actionSpace: DiscreteSpace;
  reset(options?: { readonly seed?: Seed }): ResetResult;
  /** @throws EverlongError for an action outside the space, or before a reset */
  step(action: Action): StepResult;
  /** Picture of the state: text with ANSI colours, or an SVG document. */
  render(mode: RenderMode): string;
  close?(): void;
}

export type RenderMode = "ansi" | "svg";

/** Number of entries of an observation. */
export function spaceSize(space: BoxSpace): number {
  return space.shape.reduce((a, b) => a * b, 1);
}

/** Whether two environments can share an agent. */
export function sameSpaces(a: Environment, b: Environment): boolean {
  const { observationSpace: x, actionSpace: n } = a;
  const { observationSpace: y, actionSpace: m } = b;
  return n.n === m.n && x.dtype === y.dtype && x.shape.join() === y.shape.join();
}
