// Reading constructor arguments under mad-lab's names.

import { ConfigError } from "@everlong/core";
import type { HyenaFilterSettings, Layer, LayerShape } from "@everlong/nn";

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

/** A nested record; empty when absent. */
export const record = (args: Arguments, name: string): Arguments => (args[name] ?? {}) as Arguments;

/** Activations travel as names: `GELU`, `gelu`, `tanh`-approximated or exact, `SiLU`. */
export function activation(value: unknown, otherwise: string): string {
  if (value === undefined || value === null) return otherwise;
  const text = (typeof value === "string" ? value : JSON.stringify(value)).toLowerCase();
  if (text.includes("gelu")) return text.includes("tanh") ? "gelu-tanh" : "gelu";
  if (["id", "linear", "glu", "none"].includes(text)) return text;
  for (const name of ["silu", "swish", "softplus", "relu", "sigmoid", "tanh", "identity"])
    if (text.includes(name)) return name;
  throw new ConfigError("mad layer", `unknown activation ${JSON.stringify(value)}`);
}

/** Settings of the implicit filter from its original `filter_cfg`. */
export function hyenaFilter(args: Arguments, bias: boolean): HyenaFilterSettings {
  return {
    embeddingDim: number(args, "emb_dim", 3),
    width: number(args, "order", 16),
    innerLayers: number(args, "depth_implicit", 2),
    frequency: number(args, "w", 1),
    modulate: flag(args, "modulate", true),
    fastDecay: number(args, "fast_decay_pct", 0.3),
    slowDecay: number(args, "slow_decay_pct", 1.5),
    target: number(args, "target", 0.01),
    shift: number(args, "shift", 0),
    normalized: flag(args, "normalized", false) ? "layer" : "none",
    bias,
    learningRate: number(args, "lr", 1e-3),
    weightDecay: number(args, "wd", 0),
    positionLearningRate: number(args, "lr_pos_emb", 1e-5),
    modulationLearningRate: number(args, "modulation_lr", 0),
  };
}
