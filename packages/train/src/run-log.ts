// The run log: one JSON object a line, appended, so that a killed run leaves a readable file.

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { DataError } from "@everlong/core";

export type LogEntry = Readonly<Record<string, unknown>>;

/** Appends entries to a `.jsonl` file. */
export class RunLog {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  write(entry: LogEntry): void {
    appendFileSync(this.path, `${JSON.stringify(entry)}\n`);
  }
}

/** Entries of a run log; a half-written last line is dropped. */
export function readRunLog(path: string): LogEntry[] {
  if (!existsSync(path)) throw new DataError("run log", `no file ${path}`);
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.flatMap((line, i) => {
    try {
      return [JSON.parse(line) as LogEntry];
    } catch (cause) {
      if (i === lines.length - 1) return [];
      throw new DataError("run log", `${path} line ${i + 1} is not JSON`, { cause });
    }
  });
}
