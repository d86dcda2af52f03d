// A folder for one run: its lock, log, TensorBoard events and checkpoint. A run killed at any moment leaves a folder from
// which it goes on.

import { existsSync, linkSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { checkOptions, ConfigError, DataError } from "@everlong/core";
import { makeFolder } from "@everlong/data";
import { loadCheckpoint, saveCheckpoint, type CheckpointInfo, type CheckpointParts } from "./checkpoint.ts";
import { RunLog, type LogEntry } from "./run-log.ts";
import { TensorBoardLog } from "./tensorboard.ts";

export interface RunFolderOptions {
  /** Also write events for TensorBoard. Default false. */
  readonly tensorboard?: boolean;
}

interface Owner {
  readonly pid: number;
  readonly host: string;
  readonly since: string;
}

/**
 * A run's folder: `log.jsonl`, `checkpoint.safetensors`, event files, and `lock` while a process works on it.
 *
 * @example
 * using folder = new RunFolder("runs/recall", { tensorboard: true });
 * const from = Number((await folder.resume({ model, optimizer }))?.["step"] ?? 0);
 */
export class RunFolder {
  readonly path: string;
  readonly log: RunLog;
  readonly #events: TensorBoardLog | undefined;
  #open = true;

  /** @throws ConfigError when another living process works on the folder, DataError when it cannot be made */
  constructor(path: string, options: RunFolderOptions = {}) {
    checkOptions("RunFolder", options, ["tensorboard"]);
    this.path = path;
    makeFolder(path);
    takeLock(this.#file("lock"), path);
    try {
      // What killed processes were writing; whoever holds the lock is the only one that writes.
      for (const name of readdirSync(path))
        if (name.endsWith(".partial")) rmSync(this.#file(name), { force: true });
      this.log = new RunLog(this.#file("log.jsonl"));
      this.#events = options.tensorboard ? new TensorBoardLog(path) : undefined;
    } catch (error) {
      rmSync(this.#file("lock"), { force: true });
      throw error;
    }
  }

  /** Writes an entry to the log; its numbers go to TensorBoard too. */
  write(entry: LogEntry & { readonly step: number }): void {
    this.log.write(entry);
    if (!this.#events) return;
    const { step, ...rest } = entry;
    const numbers = Object.entries(rest).filter((e): e is [string, number] => typeof e[1] === "number");
    if (numbers.length > 0) this.#events.write(step, Object.fromEntries(numbers));
  }

  /** Replaces the checkpoint; the old one stands until the new one is complete, on a full disk too. */
  async save(parts: CheckpointParts, info: CheckpointInfo & { readonly step: number }): Promise<void> {
    await saveCheckpoint(this.#file("checkpoint.safetensors"), parts, info);
  }

  /**
   * Restores the checkpoint if there is one, and drops log entries beyond its step.
   * @returns the info it was saved with, or undefined for a new run
   * @throws as {@link loadCheckpoint}
   */
  async resume(parts: CheckpointParts): Promise<CheckpointInfo | undefined> {
    const checkpoint = this.#file("checkpoint.safetensors");
    if (!existsSync(checkpoint)) {
      this.log.rewind(0);
      return undefined;
    }
    const info = await loadCheckpoint(checkpoint, parts);
    if (typeof info["step"] === "number") this.log.rewind(info["step"]);
    return info;
  }

  /** Gives the folder free for others. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#events?.close();
    rmSync(this.#file("lock"), { force: true });
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #file(name: string): string {
    return join(this.path, name);
  }
}

/** A lock is a file with its owner, complete from the moment it exists; that of a dead process is taken over. */
function takeLock(lock: string, folder: string): void {
  const mine = `${lock}.${process.pid}`;
  const owner: Owner = { pid: process.pid, host: hostname(), since: new Date().toISOString() };
  try {
    writeFileSync(mine, JSON.stringify(owner));
    for (let attempt = 0; attempt < 3; attempt++) {
      if (linked(mine, lock)) return;
      const holder = readOwner(lock);
      if (holder && isAlive(holder)) refuse(folder, holder);
      rmSync(lock, { force: true });
    }
    throw new DataError("RunFolder", `cannot lock ${folder}`);
  } finally {
    rmSync(mine, { force: true });
  }
}

/** A hard link is made whole or not at all, also when two processes try at once. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw new DataError("RunFolder", `cannot lock ${to}`, { got: (error as Error).message, cause: error });
  }
}

function refuse(folder: string, { pid, host, since }: Owner): never {
  throw new ConfigError("RunFolder", `${folder} is in use`, {
    expected: "a folder that no other process works on",
    got: `process ${pid} on ${host} since ${since}`,
    hint: "Wait for it, or choose another folder. If that process is gone, delete the file named lock.",
  });
}

function readOwner(lock: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(lock, "utf8")) as Owner;
  } catch {
    return undefined;
  }
}

/** Processes of other machines cannot be asked, so they count as alive. */
function isAlive({ pid, host }: Owner): boolean {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
