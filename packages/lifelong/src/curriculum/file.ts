// Curricula as files: YAML or JSON with strict keys, or a module.

import { existsSync, readFileSync } from "node:fs";
import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigError, nearest } from "@everlong/core";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import type { Json } from "../logs/format.ts";
import { COMPLEXITIES, DIFFICULTIES, SCENARIO_TYPES } from "../logs/format.ts";
import { RandomStream } from "../random/random-stream.ts";
import {
  alternating,
  type BuilderOptions,
  condensed,
  dispersed,
  expert,
  permuted,
  type TaskSpec,
  variant,
} from "./builders.ts";
import {
  block,
  type CurriculumEntry,
  type CurriculumFactory,
  DEFAULT_SCENARIO,
  type Length,
} from "./curriculum.ts";
import { curricula } from "./registry.ts";
import { parseStrict } from "./schema.ts";

const count = z.int().min(1);
const length = z
  .strictObject({ episodes: count.optional(), steps: count.optional() })
  .refine((v) => (v.episodes === undefined) !== (v.steps === undefined), "exactly one of episodes and steps");
const task = {
  environment: z.string(),
  task: z.string().optional(),
  variant: z.string().optional(),
  parameters: z.record(z.string(), z.number()).optional(),
};
const head = {
  name: z.string().regex(/^[\w-]+$/, "letters, digits, hyphens or underscores"),
  scenario: z
    .strictObject({
      complexity: z.enum(COMPLEXITIES).optional(),
      difficulty: z.enum(DIFFICULTIES).optional(),
      scenario_type: z.enum(SCENARIO_TYPES).optional(),
    })
    .optional(),
};
const blocksFile = z.strictObject({
  ...head,
  blocks: z
    .array(
      z.strictObject({
        kind: z.enum(["learn", "evaluate"]),
        tasks: z
          .array(
            z
              .strictObject({
                ...task,
                episodes: count.optional(),
                steps: count.optional(),
                seed: z.int().min(0).optional(),
              })
              .refine(
                (v) => (v.episodes === undefined) !== (v.steps === undefined),
                "exactly one of episodes and steps",
              ),
          )
          .min(1),
      }),
    )
    .min(1),
});
const builderFile = z.strictObject({
  ...head,
  builder: z.enum(["condensed", "permuted", "dispersed", "alternating", "expert"]),
  tasks: z.array(z.strictObject({ ...task, learn: length.optional() })).min(1),
  learn: length,
  evaluate: length,
  rounds: count.optional(),
  order: z.enum(["given", "permuted"]).optional(),
  /** For `expert`: index into tasks, from 0. */
  expert: z.int().min(0).optional(),
  evaluation_seeds: z.enum(["own", "shared"]).optional(),
});

/** A curriculum's factory by registered name, file (`.yaml`, `.yml`, `.json`, `.js`, `.mjs`, `.ts`) or package name. */
export async function loadCurriculum(reference: string): Promise<CurriculumEntry> {
  const registered = curricula().find(({ name }) => name === reference);
  if (registered !== undefined) return registered;
  const path = resolve(reference);
  if (!existsSync(path)) return loadModule(reference, reference);
  if ([".yaml", ".yml", ".json"].includes(extname(path)))
    return curriculumFromText(reference, readFileSync(path, "utf8"));
  return loadModule(pathToFileURL(path).href, reference);
}

/** A curriculum from the text of a YAML or JSON file. @throws ConfigError with the key that is wrong */
export function curriculumFromText(name: string, text: string): CurriculumEntry {
  const value = parseDocument(name, text);
  const isBlocks = typeof value === "object" && value !== null && "blocks" in value;
  const make = isBlocks
    ? fromBlocks(parseStrict(name, blocksFile, value))
    : fromBuilder(name, parseStrict(name, builderFile, value));
  const label = (value as { name: string }).name;
  return { name: label, about: `from ${name}`, make };
}

/** A configuration file as data. */
export function readConfigFile(path: string): Json {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError("config", `cannot read ${path}`, { cause, got: (cause as Error).message });
  }
  return parseDocument(path, text) as Json;
}

function parseDocument(name: string, text: string): unknown {
  try {
    return parseYaml(text, { uniqueKeys: true });
  } catch (cause) {
    throw new ConfigError(name, "is neither YAML nor JSON", {
      got: (cause as Error).message.split("\n")[0]!,
      cause,
    });
  }
}

async function loadModule(specifier: string, reference: string): Promise<CurriculumEntry> {
  let module: { curriculum?: unknown };
  try {
    module = (await import(specifier)) as typeof module;
  } catch (cause) {
    const near = nearest(
      reference,
      curricula().map(({ name }) => name),
    );
    const message = (cause as Error).message.split("\n")[0]!;
    throw new ConfigError("curriculum", `cannot load "${reference}"`, {
      expected: "a registered name, a YAML, JSON or module file, or a package",
      got: message,
      ...(near === undefined ? {} : { hint: `Did you mean "${near}"?` }),
      cause,
    });
  }
  const entry = module.curriculum as Partial<CurriculumEntry> | undefined;
  if (typeof entry?.make !== "function" || typeof entry.name !== "string") {
    throw new ConfigError("curriculum", `"${reference}" exports no curriculum`, {
      expected: "export const curriculum = { name, about, make({ seed, config }) }",
    });
  }
  return entry as CurriculumEntry;
}

function fromBlocks(file: z.infer<typeof blocksFile>): CurriculumFactory {
  return ({ seed }) => {
    const random = new RandomStream(seed);
    return {
      name: file.name,
      seed,
      scenario: { ...DEFAULT_SCENARIO, ...defined(file.scenario ?? {}) },
      blocks: file.blocks.map(({ kind, tasks }) =>
        block(
          kind,
          tasks.map((t) =>
            variant(spec(t), lengthOf(t), t.seed === undefined ? random.raw() : BigInt(t.seed)),
          ),
        ),
      ),
    };
  };
}

function fromBuilder(name: string, file: z.infer<typeof builderFile>): CurriculumFactory {
  const { builder, rounds, order } = file;
  const refuse = (key: string, given: unknown, builders: readonly string[]): void => {
    if (given === undefined || builders.includes(builder)) return;
    throw new ConfigError(name, `"${key}" does not belong to builder ${builder}`, {
      expected: `only with ${builders.join(", ")}`,
    });
  };
  refuse("rounds", rounds, ["dispersed", "alternating"]);
  refuse("order", order, ["condensed", "dispersed"]);
  refuse("expert", file.expert, ["expert"]);
  const tasks = file.tasks.map((t) => ({ ...spec(t), ...(t.learn ? { learn: lengthOf(t.learn) } : {}) }));
  const expertOf = tasks[file.expert ?? 0];
  if (expertOf === undefined) {
    throw new ConfigError(name, "expert is no task", {
      expected: `0 to ${tasks.length - 1}`,
      got: String(file.expert),
    });
  }
  return ({ seed }) => {
    const common: BuilderOptions = {
      name: file.name,
      seed,
      tasks,
      learn: lengthOf(file.learn),
      evaluate: lengthOf(file.evaluate),
      evaluationSeeds: file.evaluation_seeds ?? "own",
      scenario: defined(file.scenario ?? {}),
    };
    switch (builder) {
      case "condensed":
        return condensed({ ...common, order: order ?? "given" });
      case "permuted":
        return permuted(common);
      case "dispersed":
        return dispersed({ ...common, rounds: rounds ?? 3, order: order ?? "permuted" });
      case "alternating":
        return alternating({ ...common, rounds: rounds ?? 2 });
      case "expert":
        return expert({ ...common, expertOf });
    }
  };
}

function spec(t: {
  environment: string;
  task?: string | undefined;
  variant?: string | undefined;
  parameters?: Record<string, number> | undefined;
}): TaskSpec {
  const { environment, task: label, variant: name, parameters } = t;
  return { environment, ...defined({ task: label, variant: name, parameters }) };
}

function lengthOf(v: { episodes?: number | undefined; steps?: number | undefined }): Length {
  return v.episodes === undefined
    ? { count: v.steps!, unit: "steps" }
    : { count: v.episodes, unit: "episodes" };
}

function defined<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as never;
}
