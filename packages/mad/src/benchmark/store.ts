// Results on disk by the hash of what made them. Several processes, on several machines with one file system, may share a
// folder: a result appears whole or not at all, and a claim keeps two of them from the same work.

import { randomBytes } from "node:crypto";
import {
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { DataError } from "@everlong/core";
import { makeFolder, writeWhole } from "@everlong/data";
import type { CellResult, Measured } from "./result.ts";

/** A claim whose owner has shown no sign of life for this long may be taken over. */
const STALE_MS = 60_000;
const HEARTBEAT_MS = 10_000;

/** The right to work on a key, until released. */
export interface Claim {
  release(): void;
}

interface Owner {
  readonly pid: number;
  readonly host: string;
  readonly token: string;
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
};

/** A folder of results. */
export class ResultStore {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  #resultPath(key: string): string {
    return join(this.folder, "cells", key.slice(0, 2), `${key}.json`);
  }

  #claimPath(key: string): string {
    return join(this.folder, "claims", `${key}.json`);
  }

  /** Where an unfinished cell keeps what it has. */
  partial(key: string): string {
    return join(this.folder, "partial", key);
  }

  has(key: string): boolean {
    return existsSync(this.#resultPath(key));
  }

  /** The result of a key; undefined when there is none. @throws DataError for a damaged file */
  get(key: string): CellResult | undefined {
    const path = this.#resultPath(key);
    if (!existsSync(path)) return undefined;
    return readResult(path, key);
  }

  /** Keeps a result. Of two equal keys the later one stays. */
  put(result: CellResult): void {
    writeWhole(this.#resultPath(result.key), `${JSON.stringify(result)}\n`);
  }

  /** All results, by time. */
  all(): CellResult[] {
    const root = join(this.folder, "cells");
    if (!existsSync(root)) return [];
    return readdirSync(root)
      .flatMap((part) =>
        readdirSync(join(root, part))
          .filter((file) => file.endsWith(".json"))
          .map((file) => readResult(join(root, part, file), file.slice(0, -".json".length))),
      )
      .toSorted((a, b) => (a.finished < b.finished ? -1 : 1));
  }

  /**
   * The right to work on a key, unless another process holds it. A claim is kept alive while its process lives; that of a
   * killed process is taken over at once on the same machine, after a minute elsewhere.
   */
  claim(key: string): Claim | undefined {
    const path = this.#claimPath(key);
    makeFolder(dirname(path));
    const owner: Owner = { pid: process.pid, host: hostname(), token: randomBytes(8).toString("hex") };
    if (!create(path, owner)) {
      if (!isStale(path)) return undefined;
      // Renaming succeeds for one taker only.
      const grave = `${path}.${owner.token}.stale`;
      try {
        renameSync(path, grave);
      } catch {
        return undefined;
      }
      rmSync(grave, { force: true });
      if (!create(path, owner)) return undefined;
    }
    const beat = setInterval(() => {
      try {
        const now = new Date();
        utimesSync(path, now, now);
      } catch {
        // taken over while this process was suspended: the result will be equal
      }
    }, HEARTBEAT_MS);
    beat.unref();
    return {
      release: () => {
        clearInterval(beat);
        if (readOwner(path)?.token === owner.token) rmSync(path, { force: true });
      },
    };
  }
}

/** Creates the claim file with its content in one step. */
function create(path: string, owner: Owner): boolean {
  const draft = `${path}.${owner.token}.tmp`;
  try {
    writeFileSync(draft, JSON.stringify(owner));
    linkSync(draft, path);
    return true;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST") return false;
    throw new DataError("mad store", `cannot claim a setting in ${dirname(path)}`, { got: message, cause });
  } finally {
    rmSync(draft, { force: true });
  }
}

function readOwner(path: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Owner;
  } catch {
    return undefined;
  }
}

function isStale(path: string): boolean {
  const owner = readOwner(path);
  try {
    if (owner && owner.host === hostname()) return !alive(owner.pid);
    return Date.now() - statSync(path).mtimeMs > STALE_MS;
  } catch {
    // released in the meantime: the next attempt will see
    return false;
  }
}

function readResult(path: string, key: string): CellResult {
  let result: CellResult;
  try {
    result = JSON.parse(readFileSync(path, "utf8")) as CellResult;
  } catch (cause) {
    throw new DataError("mad store", `${path} is not JSON`, { hint: "Delete it to train it again.", cause });
  }
  if (result.format !== 1 || result.key !== key) {
    throw new DataError("mad store", `${path} is no result of this version`, {
      expected: `format 1, key ${key}`,
      got: `format ${String(result.format)}, key ${String(result.key)}`,
      hint: "Delete it to train it again.",
    });
  }
  return result.origin === undefined ? result : withUnknowns(result);
}

/** JSON has no NaN, which stands for figures that are not known. */
function withUnknowns(result: CellResult): CellResult {
  const all = <T extends object>(o: T): T =>
    Object.fromEntries(Object.entries(o).map(([k, v]) => [k, v === null ? Number.NaN : (v as unknown)])) as T;
  const measured = (m: Measured): Measured => ({ epoch: all(m.epoch), batches: all(m.batches) });
  return {
    ...all(result),
    leakage: all(result.leakage),
    model: all(result.model),
    runs: result.runs.map((run) => ({
      ...run,
      curve: run.curve.map(all),
      test: run.test && measured(run.test),
      ...(run.train ? { train: measured(run.train) } : {}),
    })),
  };
}
