import { readFileSync } from "node:fs";
import { ConfigError } from "@everlong/core";
import { type Command, Option } from "commander";
import {
  METRICS_OPTIONS,
  type MetricsOptions,
  metricsOptionsFromSettings,
  type MetricsOptionSpec,
} from "../metrics/options.ts";

/** Adds every option of the metrics pipeline to a command, from its option table. */
export function withMetricsOptions(command: Command): Command {
  for (const spec of METRICS_OPTIONS) command.addOption(optionOf(spec));
  return command.option(
    "-c, --load-settings <file>",
    "settings file in the original's key names; flags win over it",
  );
}

/** Pipeline options from parsed flags and the settings file that they name. */
export function metricsOptionsOf(flags: Readonly<Record<string, unknown>>): MetricsOptions {
  const file = flags["loadSettings"] as string | undefined;
  const settings =
    file === undefined ? {} : metricsOptionsFromSettings(readJson(file) as Record<string, unknown>);
  const given: Record<string, unknown> = {};
  for (const spec of METRICS_OPTIONS) {
    const value = flags[attributeOf(spec)];
    if (value !== undefined) given[spec.key] = spec.kind === "file" ? readJson(value as string) : value;
  }
  return { ...settings, ...given };
}

function flagOf(spec: MetricsOptionSpec): string {
  return spec.flag ?? spec.settingsKey.replaceAll("_", "-");
}

/** Commander's camel-case name of the flag. */
function attributeOf(spec: MetricsOptionSpec): string {
  return flagOf(spec).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function optionOf(spec: MetricsOptionSpec): Option {
  const argument = {
    flag: "",
    choice: " <choice>",
    text: " <name>",
    integer: " <n>",
    pair: " <numbers...>",
    file: " <file>",
  }[spec.kind];
  const flags = `${spec.short === undefined ? "" : `-${spec.short}, `}--${flagOf(spec)}${argument}`;
  const fallback =
    spec.kind === "flag" || spec.default === null ? "" : ` (default: ${JSON.stringify(spec.default)})`;
  const option = new Option(flags, spec.help + fallback);
  if (spec.choices !== undefined) option.choices(spec.choices);
  if (spec.kind === "integer") option.argParser((text) => numberOf(flagOf(spec), text));
  if (spec.kind === "pair") {
    option.argParser((text: string, before: number[] | undefined) => [
      ...(before ?? []),
      numberOf(flagOf(spec), text),
    ]);
  }
  return option;
}

function numberOf(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value))
    throw new ConfigError("options", `--${flag} is not a number`, { got: text });
  return value;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new ConfigError("options", `cannot read ${path}`, { got: (cause as Error).message, cause });
  }
}
