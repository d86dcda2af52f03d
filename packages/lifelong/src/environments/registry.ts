import { checkOptions, ConfigError, nearest } from "@everlong/core";
import { CARTPOLE } from "./cartpole.ts";
import type { Environment } from "./environment.ts";
import { MINIGRID_TASKS } from "./minigrid/tasks.ts";

/** A parameter of an environment: a number with its range. */
export interface EnvironmentParameter {
  readonly default: number;
  readonly about: string;
  readonly min?: number;
  readonly max?: number;
  readonly integer?: boolean;
}

/** A registered environment. */
export interface EnvironmentEntry {
  /** Name in curricula; also the default task label. */
  readonly name: string;
  readonly about: string;
  readonly parameters: Readonly<Record<string, EnvironmentParameter>>;
  /** Named settings: the variants of the M21 set. */
  readonly variants: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** @param parameters all of them, checked */
  make(parameters: Readonly<Record<string, number>>): Environment;
}

const entries: EnvironmentEntry[] = [CARTPOLE, ...MINIGRID_TASKS];

/** Every registered environment. */
export function environments(): readonly EnvironmentEntry[] {
  return entries;
}

/**
 * Adds an environment; curriculum modules and plugins call it.
 *
 * @throws ConfigError if the name is taken by another entry
 */
export function registerEnvironment(entry: EnvironmentEntry): void {
  const known = entries.find(({ name }) => name === entry.name);
  if (known === entry) return;
  if (known !== undefined) throw new ConfigError("environments", `"${entry.name}" is already registered`);
  entries.push(entry);
}

/** @throws ConfigError for an unknown name, with the nearest known one */
export function environmentEntry(name: string): EnvironmentEntry {
  const entry = entries.find((e) => e.name === name);
  if (entry !== undefined) return entry;
  const names = entries.map((e) => e.name);
  const near = nearest(name, names);
  throw new ConfigError("environments", `unknown environment "${name}"`, {
    expected: names.join(", "),
    ...(near === undefined ? {} : { hint: `Did you mean "${near}"?` }),
  });
}

/**
 * All parameters of an environment with the given ones put in.
 *
 * @throws ConfigError for an unknown parameter or a value out of range
 */
export function resolveParameters(
  entry: EnvironmentEntry,
  given: Readonly<Record<string, unknown>>,
): Record<string, number> {
  const op = `environment ${entry.name}`;
  checkOptions(op, given, Object.keys(entry.parameters));
  return Object.fromEntries(
    Object.entries(entry.parameters).map(([key, spec]) => {
      const value = given[key] ?? spec.default;
      const { min = -Infinity, max = Infinity } = spec;
      const fits = typeof value === "number" && value >= min && value <= max;
      if (!fits || (spec.integer === true && !Number.isInteger(value))) {
        throw new ConfigError(op, `parameter "${key}" is out of range`, {
          expected: `${spec.integer === true ? "an integer" : "a number"} from ${min} to ${max}`,
          got: JSON.stringify(value),
        });
      }
      return [key, value];
    }),
  );
}

/** Makes an environment by name; an unset parameter has its default. */
export function makeEnvironment(
  name: string,
  parameters: Readonly<Record<string, unknown>> = {},
): Environment {
  const entry = environmentEntry(name);
  return entry.make(resolveParameters(entry, parameters));
}
