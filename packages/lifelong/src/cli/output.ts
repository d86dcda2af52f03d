import type { Command } from "commander";

/** Where a command prints: text for people, one JSON value for programs. */
export interface Output {
  readonly json: boolean;
  /** Text; nothing with `--json`. */
  readonly text: (line: string) => void;
  /** The command's result; only with `--json`. */
  readonly result: (value: unknown) => void;
  /** Progress and warnings, on the error stream. */
  readonly note: (line: string) => void;
}

/** Adds `--json` to a command. */
export function withJson(command: Command): Command {
  return command.option("--json", "print one JSON value instead of text");
}

/** Output of a command as its options say. */
export function outputOf(options: { readonly json?: boolean }): Output {
  const json = options.json === true;
  return {
    json,
    text: (line) => {
      if (!json) process.stdout.write(`${line}\n`);
    },
    result: (value) => {
      if (json) process.stdout.write(`${JSON.stringify(value, jsonValue)}\n`);
    },
    note: (line) => process.stderr.write(`${line}\n`),
  };
}

function jsonValue(_: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  return typeof value === "number" && !Number.isFinite(value) ? null : value;
}
