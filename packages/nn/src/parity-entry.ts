// What the parity runner needs to repeat a case of an original class: a module, how to call it, and how its names map.

import type { Tensor } from "@everlong/core";
import type { Module } from "./layer.ts";

/** A case's constructor arguments and its whole JSON. */
export interface ParityRequest {
  readonly args: Readonly<Record<string, unknown>>;
  readonly json: Readonly<Record<string, unknown>>;
  /** Shapes of every tensor of the case, by full name (`in.x`, `state.weight`, `out.y`). */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Values of a stored tensor, for what a module must know when it is built. */
  readonly numbers?: (name: string) => ArrayLike<number> | undefined;
}

/** A built case. */
export interface ParityModule {
  /** Gets the case's `state.*` by original key; absent for plain functions. */
  readonly module?: Module;
  /** Original key -> name of ours; undefined drops a key that ours derives. Default: the same name. */
  readonly rename?: (key: string) => string | undefined;
  /**
   * The original computes in float32 whatever dtype it is given, so its float64 results hold float32 digits and are compared
   * under the float32 tolerance.
   */
  readonly float32Inside?: boolean;
  /** Inputs by name without `in.`; returns outputs by name without `out.`. */
  readonly call: (inputs: Readonly<Record<string, Tensor>>) => Readonly<Record<string, Tensor>>;
}

/** Original class name (up to the first space of the case's `cls`) -> builder. */
export type ParityModules = Readonly<Record<string, (c: ParityRequest) => ParityModule>>;
