// Reading constructor arguments under mad-lab's names.

import { ConfigError } from "@everlong/core";
import type { Layer, LayerShape } from "@everlong/nn";

export type Arguments = Readonly<Record<string, unknown>>;

/** A layer as its original class constructs it. */
export interface OriginalLayer {
  readonly build: (shape: LayerShape) => Layer;
  /** Original state name to ours; undefined drops what ours lacks. */
  readonly rename: (key: string) => string | undefined;
}

/** A number, or the default where the argument is absent or null. */
export const number = (args: Arguments, name: string, otherwise: number): number => {
  const value = args[name];
  if (value === undefined || value === null) return otherwise;
  if (typeof value !== "number")
    throw new ConfigError("mad layer", `"${name}" must be a number`, { got: JSON.stringify(value) });
  return value;
};

/** True or false, or the default where the argument is absent or null. */
export const flag = (args: Arguments, name: string, otherwise: boolean): boolean => {
  const value = args[name];
  if (value === undefined || value === null) return otherwise;
  if (typeof value !== "boolean")
    throw new ConfigError("mad layer", `"${name}" must be true or false`, { got: JSON.stringify(value) });
  return value;
};
