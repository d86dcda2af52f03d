// `mad tasks` and `mad layers`: what the registries hold, with options and defaults.

import { channelMixers, mixers, type LayerEntry } from "@everlong/nn";
import type { Command } from "commander";
import { TASK_OPTIONS } from "../tasks/options.ts";
import { TASKS } from "../tasks/registry.ts";
import type { Task } from "../tasks/task.ts";

const optionLine = (name: string, value: unknown, doc: string): string =>
  `    ${`${name} = ${JSON.stringify(value)}`.padEnd(32)} ${doc}`;

function taskText(task: Task): string {
  const options = task.optionNames.map((name) =>
    optionLine(name, task.defaults[name], TASK_OPTIONS[name].describe),
  );
  return [`${task.name} (${task.shorthand})`, `  ${task.describe}`, ...options].join("\n");
}

function layerText(entry: LayerEntry): string {
  const options = Object.entries(entry.options).map(([name, o]) => {
    const choices = o.choices ? ` (${o.choices.join(", ")})` : "";
    return optionLine(name, o.default, o.doc + choices);
  });
  return [
    `${entry.name} (${entry.shorthand}), ${entry.kind} mixer`,
    `  ${entry.summary} ${entry.source}`,
    ...options,
  ].join("\n");
}

interface ListOptions {
  readonly json?: boolean;
}

export function registerLists(mad: Command): void {
  mad
    .command("tasks")
    .description("the tasks with their options and defaults")
    .option("--json", "as JSON")
    .action((options: ListOptions) => {
      const facts = TASKS.map(({ name, shorthand, describe, backbone, defaults }) => ({
        name,
        shorthand,
        describe,
        backbone,
        defaults,
      }));
      console.log(options.json ? JSON.stringify(facts) : TASKS.map(taskText).join("\n\n"));
    });
  mad
    .command("layers")
    .description("the layers with their options and defaults")
    .option("--json", "as JSON")
    .action((options: ListOptions) => {
      const all: readonly LayerEntry[] = [...mixers, ...channelMixers];
      const facts = all.map(({ name, shorthand, kind, summary, source, options: o }) => ({
        name,
        shorthand,
        kind,
        summary,
        source,
        options: o,
      }));
      console.log(options.json ? JSON.stringify(facts) : all.map(layerText).join("\n\n"));
    });
}
