import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { checkOptions, ConfigError, nearest } from "@everlong/core";
import type { AgentEntry } from "../run/agent.ts";
import { DQN_AGENTS } from "./dqn-entries.ts";
import { PPO } from "./ppo-entry.ts";
import { RANDOM } from "./random.ts";

const entries: AgentEntry[] = [RANDOM, ...DQN_AGENTS, PPO];

/** Every registered agent. */
export function agents(): readonly AgentEntry[] {
  return entries;
}

/** Adds an agent. @throws ConfigError if another one has its name */
export function registerAgent(entry: AgentEntry): void {
  const known = entries.find(({ name }) => name === entry.name);
  if (known === entry) return;
  if (known !== undefined) throw new ConfigError("agents", `"${entry.name}" is already registered`);
  entries.push(entry);
}

/** An agent by registered name, module file or package; a module exports `agent`. */
export async function loadAgent(reference: string): Promise<AgentEntry> {
  const registered = entries.find(({ name }) => name.toLowerCase() === reference.toLowerCase());
  if (registered !== undefined) return registered;
  let module: { agent?: unknown };
  try {
    module = (await import(moduleUrl(reference))) as typeof module;
  } catch (cause) {
    const names = entries.map(({ name }) => name);
    const near = nearest(reference, names);
    throw new ConfigError("agent", `cannot load "${reference}"`, {
      expected: `${names.join(", ")}, or a module`,
      got: (cause as Error).message.split("\n")[0]!,
      ...(near === undefined ? {} : { hint: `Did you mean "${near}"?` }),
      cause,
    });
  }
  const entry = module.agent as Partial<AgentEntry> | undefined;
  if (typeof entry?.make !== "function" || typeof entry.name !== "string") {
    throw new ConfigError("agent", `"${reference}" exports no agent`, {
      expected: "export const agent = { name, about, options, make(context, options) }",
    });
  }
  return { about: "", options: {}, ...entry } as AgentEntry;
}

/** What `import` takes for a file path or a package name. */
export function moduleUrl(reference: string): string {
  const path = resolve(reference);
  return existsSync(path) ? pathToFileURL(path).href : reference;
}

/**
 * All options of an agent with the given ones put in; text from a command line is converted.
 *
 * @throws ConfigError for an unknown option or a value that does not fit
 */
export function resolveAgentOptions(
  entry: AgentEntry,
  given: Readonly<Record<string, unknown>>,
): Record<string, number | string | boolean> {
  const op = `agent ${entry.name}`;
  checkOptions(op, given, Object.keys(entry.options));
  return Object.fromEntries(
    Object.entries(entry.options).map(([key, spec]) => {
      const { default: fallback, min = -Infinity, max = Infinity, choices } = spec;
      const value = convert(given[key] ?? fallback, fallback);
      const fits =
        typeof value === typeof fallback &&
        (typeof value !== "number" || (value >= min && value <= max)) &&
        (choices === undefined || choices.includes(String(value)));
      if (!fits) {
        throw new ConfigError(op, `option "${key}" does not fit`, {
          expected:
            choices?.join(", ") ??
            (typeof fallback === "number" ? `a number from ${min} to ${max}` : `a ${typeof fallback}`),
          got: JSON.stringify(given[key]),
        });
      }
      return [key, value];
    }),
  );
}

function convert(value: unknown, like: number | string | boolean): number | string | boolean {
  if (typeof value === "string" && typeof like === "number" && value.trim() !== "") return Number(value);
  if (typeof value === "string" && typeof like === "boolean") return value === "true" || value === "1";
  return value as number | string | boolean;
}
