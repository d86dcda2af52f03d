// Options of the commands as data: one table gives flags, configuration keys, checks and help. mad-lab's names are
// understood beside ours.

import { readFileSync } from "node:fs";
import { extname } from "node:path";
import { checkOptions, ConfigError } from "@everlong/core";
import { Option, type Command } from "commander";
import { parse as parseYaml } from "yaml";

type Kind = "text" | "texts" | "number" | "count" | "numbers" | "flag";

/** One option of a command. */
export interface Field {
  /** Key in configuration files; the flag is the same with hyphens. */
  readonly name: string;
  readonly kind: Kind;
  readonly describe: string;
  readonly default?: string | number | boolean | readonly (string | number)[];
  readonly choices?: readonly string[];
  /** Numbers must be above 0; others may be 0 (counts), or anything. */
  readonly positive?: boolean;
  /** mad-lab's flags for it, without the leading hyphens; its configuration key has underscores. */
  readonly original?: readonly string[];
}

/** What was given for the fields, files and defaults included. */
export type FieldValues = Readonly<Record<string, unknown>>;

/** Options of mad-lab's command lines that have no counterpart, with what to do instead. */
export const ABSENT: Readonly<Record<string, string>> = {
  "data-path": "Data are generated in the process, bit-identical to the published files.",
  "num-data-workers": "Data are generated in the process before training starts.",
  "persistent-data-workers": "Data are generated in the process before training starts.",
  "persistent-workers": "Data are generated in the process before training starts.",
  "log-to-wandb": "Results are JSON and CSV files.",
  "wandb-project": "Results are JSON and CSV files.",
  "num-cpus-trial": "A setting is trained on one thread; --workers says how many side by side.",
  "ray-tmp-path": "Nothing runs on Ray: processes share a results folder.",
  accelerator: "Say everlong --device cuda mad ..., before the command.",
  "target-ignore-index": "It is -100, as in the published data.",
};

/** `trainRows` -> `train-rows`. */
export const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
const camel = (flag: string): string => flag.replaceAll(/-([a-z])/g, (_, c: string) => c.toUpperCase());

const placeholder: Readonly<Record<Kind, string>> = {
  text: " <text>",
  texts: " <texts...>",
  number: " <x>",
  count: " <n>",
  numbers: " <x...>",
  flag: "",
};

/** Adds a command's fields, `--config` and hidden spellings of mad-lab's. */
export function addFields(command: Command, fields: readonly Field[]): Command {
  for (const f of fields) {
    const options = [kebab(f.name), ...(f.original ?? [])].map((flag, i) => {
      const fallback =
        f.default === undefined || i > 0 ? "" : ` (default: ${[f.default].flat().join(" ") || "none"})`;
      const choices = f.choices ? ` [${f.choices.join(", ")}]` : "";
      const option = new Option(`--${flag}${placeholder[f.kind]}`, f.describe + choices + fallback);
      return i > 0 ? option.hideHelp() : option;
    });
    options.forEach((o) => command.addOption(o));
    if (f.kind === "flag")
      for (const flag of [kebab(f.name), ...(f.original ?? [])])
        command.addOption(new Option(`--no-${flag}`).hideHelp().default(undefined));
  }
  for (const flag of Object.keys(ABSENT)) command.addOption(new Option(`--${flag} [x]`).hideHelp());
  return command.option("--config <file>", "options from a .json, .yaml or .yml file; flags win over it");
}

function readConfig(op: string, file: string): Record<string, unknown> {
  const ending = extname(file);
  if (![".json", ".yaml", ".yml"].includes(ending)) {
    throw new ConfigError(op, `${file} is no configuration file`, { expected: ".json, .yaml or .yml" });
  }
  let content: unknown;
  try {
    const text = readFileSync(file, "utf8");
    content = ending === ".json" ? JSON.parse(text) : parseYaml(text);
  } catch (cause) {
    const { message } = cause as Error;
    throw new ConfigError(op, `cannot read ${file}`, { hint: message.split("\n")[0]!, cause });
  }
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    throw new ConfigError(op, `${file} holds no options`, { expected: "name: value pairs" });
  }
  return content as Record<string, unknown>;
}

function checked(op: string, f: Field, value: unknown): unknown {
  const wrong = (expected: string): ConfigError =>
    new ConfigError(op, `--${kebab(f.name)} has a wrong value`, { expected, got: JSON.stringify(value) });
  const number = (x: unknown): number => {
    const n = typeof x === "string" && x.trim() !== "" ? Number(x) : x;
    const least = f.positive ? 1 : 0;
    if (f.kind === "count") {
      if (typeof n === "number" && Number.isSafeInteger(n) && n >= least) return n;
      throw wrong(`a whole number of at least ${least}`);
    }
    if (typeof n !== "number" || !Number.isFinite(n)) throw wrong("a number");
    if (f.positive && n <= 0) throw wrong("a number above 0");
    return n;
  };
  switch (f.kind) {
    case "flag":
      if (typeof value !== "boolean") throw wrong("true or false");
      return value;
    case "number":
    case "count":
      return number(value);
    case "numbers":
      return [value].flat().map(number);
    case "texts":
      if (![value].flat().every((v) => typeof v === "string")) throw wrong("texts");
      return [value].flat();
    case "text":
      if (typeof value !== "string") throw wrong("text");
      if (f.choices && !f.choices.includes(value)) throw wrong(f.choices.join(", "));
      return value;
  }
}

/**
 * Values of a command's fields: flags, then the configuration file, then defaults.
 *
 * @throws ConfigError for unknown keys (with the nearest known one), wrong values, and options of mad-lab's that have no
 *   counterpart
 */
export function readFields(
  op: string,
  fields: readonly Field[],
  given: Readonly<Record<string, unknown>>,
): FieldValues {
  for (const [flag, hint] of Object.entries(ABSENT)) {
    if (given[camel(flag)] !== undefined) throw new ConfigError(op, `--${flag} has no counterpart`, { hint });
  }
  const file = typeof given["config"] === "string" ? readConfig(op, given["config"]) : {};
  const spellings = (f: Field): string[] => [
    f.name,
    kebab(f.name),
    ...(f.original ?? []).flatMap((o) => [o, o.replaceAll("-", "_")]),
  ];
  for (const key of Object.keys(file)) {
    const hint = ABSENT[key.replaceAll("_", "-")];
    if (hint) throw new ConfigError(op, `"${key}" has no counterpart`, { hint });
  }
  const known = new Set(fields.flatMap(spellings));
  for (const key of Object.keys(file)) {
    if (!known.has(key))
      checkOptions(
        op,
        { [key]: file[key] },
        fields.map((f) => f.name),
      );
  }
  const values = fields.flatMap((f) => {
    const flags = [f.name, ...(f.original ?? []).map(camel)];
    const fromFlag = flags.map((flag) => given[flag]).find((v) => v !== undefined);
    const fromFile = spellings(f)
      .map((key) => file[key])
      .find((v) => v !== undefined);
    const value = fromFlag ?? fromFile ?? f.default;
    return value === undefined ? [] : [[f.name, checked(op, f, value)] as const];
  });
  return Object.fromEntries(values);
}
