// The run log: one JSON object a line, appended, so that a killed run leaves a readable file.

import { appendFileSync, existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { DataError } from "@everlong/core";

export type LogEntry = Readonly<Record<string, unknown>>;

const lineOf = (entry: LogEntry): string => `${JSON.stringify(entry)}\n`;

/** Appends entries to a `.jsonl` file. */
export class RunLog {
  readonly path: string;

  /** Goes on with a file that exists; what a killed run half wrote at its end is dropped. */
  constructor(path: string) {
    this.path = path;
    // A pipe or a device has no end to repair.
    if (existsSync(path) && statSync(path).isFile()) this.#repair();
  }

  /** @throws DataError when the entry cannot be written, on a full disk for one; earlier entries stay */
  write(entry: LogEntry): void {
    try {
      appendFileSync(this.path, lineOf(entry));
    } catch (cause) {
      throw new DataError("run log", `cannot write ${this.path}`, { got: (cause as Error).message, cause });
    }
  }

  /** Drops entries whose `step` is beyond that of the checkpoint a run goes on from. */
  rewind(step: number): void {
    if (!existsSync(this.path)) return;
    const kept = readRunLog(this.path).filter((e) => !(typeof e["step"] === "number" && e["step"] > step));
    replace(this.path, kept.map(lineOf).join(""));
  }

  #repair(): void {
    const text = readFileSync(this.path, "utf8");
    if (text === "" || text.endsWith("\n")) return;
    replace(this.path, text.slice(0, text.lastIndexOf("\n") + 1));
  }
}

/** The old file stands until the new one is complete. */
function replace(path: string, text: string): void {
  const partial = `${path}.${process.pid}.partial`;
  writeFileSync(partial, text);
  renameSync(partial, path);
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
