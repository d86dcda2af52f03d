// Lengths from a configuration file in the original's format: `learn` (defaults, tasks, variants), `num learn blocks`.

import { z } from "zod";
import type { Json } from "../logs/format.ts";
import type { Length, LengthUnit } from "./curriculum.ts";
import { parseStrict } from "./schema.ts";

const count = z.int().min(1);
const unit = z.enum(["episodes", "steps"]);

/** Checked content of a configuration file. */
export interface LimitsConfig {
  readonly learn: Readonly<
    Record<string, number | string | { length?: number | undefined; unit?: LengthUnit | undefined }>
  >;
  readonly rounds: number | null;
}

/**
 * Checks a configuration against the labels of a curriculum.
 *
 * @param labels task labels and task labels with variant labels (`DistShift`, `DistShiftR2`)
 * @throws ConfigError naming the key
 */
export function readLimits(config: Json, labels: readonly string[]): LimitsConfig {
  if (config === null) return { learn: {}, rounds: null };
  const limit = z.union([count, z.strictObject({ length: count.optional(), unit: unit.optional() })]);
  const schema = z.strictObject({
    learn: z
      .strictObject({
        "default length": count.optional(),
        "default unit": unit.optional(),
        ...Object.fromEntries(labels.map((label) => [label, limit.optional()])),
      })
      .optional(),
    "num learn blocks": count.optional(),
  });
  const parsed = parseStrict("curriculum config", schema, config);
  return { learn: (parsed.learn ?? {}) as LimitsConfig["learn"], rounds: parsed["num learn blocks"] ?? null };
}

/** Length of a variant: its own entry, else its task's, else the file's defaults, else `fallback`. */
export function limitOf(config: LimitsConfig, task: string, variant: string, fallback: Length): Length {
  const { learn } = config;
  const length = (learn["default length"] as number | undefined) ?? fallback.count;
  const defaultUnit = (learn["default unit"] as LengthUnit | undefined) ?? fallback.unit;
  const entry = learn[task + variant] ?? learn[task];
  if (typeof entry === "object") return { count: entry.length ?? length, unit: entry.unit ?? defaultUnit };
  return { count: typeof entry === "number" ? entry : length, unit: defaultUnit };
}
