// The unit of the benchmark's work and of its cache: one architecture on one setting under one recipe, all of whose runs
// (learning rates x weight decays) are trained together.

import { createHash } from "node:crypto";
import { ConfigError } from "@everlong/core";
import type { LayerEntry } from "@everlong/nn";
import type { Architecture } from "../train/architecture.ts";
import type { MadSetting } from "../protocol.ts";
import { resolveLayers, shorthandOf } from "./architecture-name.ts";
import type { Plugin } from "./plugin.ts";
import { makeRecipe, type Recipe } from "./recipe.ts";

/** Raised when what a cell's runs mean changes: results of older code are then not taken for new ones. */
const FORMAT = 1;

/** What to train; plain data, so that it can be sent to a worker. */
export interface Cell {
  /** Content hash of everything that decides the result. */
  readonly key: string;
  /** What tables call the architecture. */
  readonly architecture: string;
  /** mad-lab's shorthand of the layers. */
  readonly shorthand: string;
  readonly layers: Architecture["layers"];
  readonly setting: MadSetting;
  readonly recipe: Recipe;
  /** Files that define layers. */
  readonly plugins: readonly string[];
}

/** JSON with sorted keys: equal values give equal text. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const pairs = Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`);
    return `{${pairs.join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** Every option of a layer: a changed default is a changed layer. */
const completeOptions = (entry: LayerEntry, given: Readonly<Record<string, unknown>>): object =>
  Object.fromEntries(Object.entries(entry.options).map(([name, o]) => [name, given[name] ?? o.default]));

/** Makes a cell. @throws ConfigError for unknown layers or options, and settings that a batch does not fit into */
export function makeCell(
  architecture: Architecture,
  setting: MadSetting,
  changes: Partial<Recipe> = {},
  plugins: readonly Plugin[] = [],
): Cell {
  const recipe = makeRecipe(changes);
  const more = plugins.flatMap((p) => p.entries);
  const resolved = resolveLayers(architecture, more);
  if (setting.trainCount < recipe.batch) {
    throw new ConfigError("mad cell", `"${setting.id}" has fewer training rows than a batch`, {
      expected: `at least ${recipe.batch}`,
      got: `${setting.trainCount}`,
    });
  }
  if (setting.testCount < 1) throw new ConfigError("mad cell", `"${setting.id}" has no test rows`);
  const origin = (entry: LayerEntry): string | undefined =>
    plugins.find((p) => p.entries.includes(entry))?.hash;
  const { task, options, trainCount, testCount } = setting;
  const content = {
    format: FORMAT,
    layers: resolved.map(({ entry, options: given }) => ({
      name: entry.name,
      options: completeOptions(entry, given),
      plugin: origin(entry),
    })),
    task,
    options,
    trainCount,
    testCount,
    recipe,
  };
  const shorthand = shorthandOf(resolved);
  return {
    key: createHash("sha256").update(canonical(content)).digest("hex").slice(0, 40),
    architecture: architecture.name === "" ? shorthand : architecture.name,
    shorthand,
    layers: resolved.map(({ entry, options: given }) => ({ layer: entry.name, options: given })),
    setting,
    recipe,
    plugins: plugins.map((p) => p.path),
  };
}

/** Part `part` of `of` (from 1), every `of`-th cell, so that parts take about equally long. */
export function sliceOf<T>(items: readonly T[], part: number, of: number): T[] {
  if (!Number.isSafeInteger(of) || !Number.isSafeInteger(part) || part < 1 || part > of) {
    throw new ConfigError("mad slice", "no such part", {
      expected: "PART/OF with 1 <= PART <= OF",
      got: `${part}/${of}`,
    });
  }
  return items.filter((_, i) => i % of === part - 1);
}
