import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DataError } from "@everlong/core";
import { writeWhole } from "@everlong/data";
import { l2dataRoot, type LifetimeLog } from "../logs/reader.ts";
import { filterRows, findRegimes } from "../logs/table.ts";

const OP = "expert store";
const SUFFIX = ".ste.json";
const FORMAT = "everlong-ste";

/** One run of a single-task expert: the complete experiences of its log, in order. */
export interface SteRun {
  /** Where it came from: the log folder's name. */
  readonly source: string;
  readonly expNum: Int32Array;
  /** Regime number of each row. */
  readonly regime: Int32Array;
  /** 0 train, 1 test. */
  readonly test: Uint8Array;
  /** Every numeric column of the log. */
  readonly columns: ReadonlyMap<string, Float64Array>;
}

/** Expert runs by task name (lower case). */
export type SteData = ReadonlyMap<string, readonly SteRun[]>;

/**
 * Makes an expert run of a log.
 *
 * @throws DataError unless exactly one task was trained
 */
export function steRunOf(log: LifetimeLog): { task: string; run: SteRun } {
  const table = filterRows(log.table, (row) => log.table.complete[row] === 1);
  const regimes = findRegimes(table);
  const trained = [...new Set(regimes.filter((r) => r.blockType === "train").map((r) => r.task))];
  if (trained.length !== 1) {
    throw new DataError(OP, `${log.runId} is not a single-task expert`, {
      expected: "one trained task",
      got: trained.length === 0 ? "none" : trained.join(", "),
    });
  }
  const regime = new Int32Array(table.rows);
  for (const { index, start, end } of regimes) regime.fill(index, start, end);
  const run = { source: log.runId, expNum: table.expNum, regime, test: table.test, columns: table.numbers };
  return { task: trained[0]!, run };
}

/**
 * Folder of expert runs, one JSON file a task. The original keeps pickles, which run code when opened; JSON does not.
 * Numbers are written in full, so a stored run computes as the log did.
 */
export class SteStore {
  readonly dir: string;

  /** @param dir default `$L2DATA/taskinfo`, where the original looks */
  constructor(dir: string = join(l2dataRoot(), "taskinfo")) {
    this.dir = dir;
  }

  /** Names of stored tasks. */
  tasks(): string[] {
    if (!existsSync(this.dir)) return [];
    return readdirSync(this.dir)
      .filter((name) => name.endsWith(SUFFIX))
      .map((name) => name.slice(0, -SUFFIX.length).toLowerCase())
      .sort();
  }

  /**
   * Stores a log as expert run and returns the task.
   *
   * @param mode `w` replaces what is stored for the task, `a` adds to it (the newest first, as in the original)
   */
  add(log: LifetimeLog, mode: "w" | "a" = "w"): string {
    const { task, run } = steRunOf(log);
    const kept = mode === "a" ? this.#read(task) : [];
    writeWhole(this.#path(task), encode(task, [run, ...kept]));
    return task;
  }

  /** Runs for a task; for a bare task label, those of all its variants. Empty if none is stored. */
  load(task: string): SteRun[] {
    const stored = this.tasks();
    if (stored.includes(task)) return this.#read(task);
    return stored.filter((name) => name.split("_")[0] === task).flatMap((name) => this.#read(name));
  }

  /** Runs for several tasks. */
  loadAll(tasks: Iterable<string>): Map<string, SteRun[]> {
    return new Map([...tasks].map((task) => [task, this.load(task)]));
  }

  /** Deletes every stored run and returns the number of tasks. */
  clear(): number {
    const tasks = this.tasks();
    for (const task of tasks) rmSync(this.#path(task));
    return tasks.length;
  }

  #path(task: string): string {
    return join(this.dir, `${task}${SUFFIX}`);
  }

  #read(task: string): SteRun[] {
    const path = this.#path(task);
    return existsSync(path) ? decode(path, readFileSync(path, "utf8")) : [];
  }
}

function encode(task: string, runs: readonly SteRun[]): string {
  return JSON.stringify({
    format: FORMAT,
    version: 1,
    task,
    runs: runs.map((run) => ({
      source: run.source,
      exp_num: [...run.expNum],
      regime_num: [...run.regime],
      test: [...run.test],
      // NaN and infinities become null, which JSON has
      columns: Object.fromEntries([...run.columns].map(([name, values]) => [name, [...values]])),
    })),
  });
}

function decode(path: string, text: string): SteRun[] {
  const fail = (what: string): never => {
    throw new DataError(OP, `${path} ${what}`, { hint: "Store the expert's log again." });
  };
  let value: { format?: unknown; version?: unknown; runs?: unknown };
  try {
    value = JSON.parse(text) as typeof value;
  } catch {
    return fail("is not JSON");
  }
  if (value?.format !== FORMAT || value.version !== 1 || !Array.isArray(value.runs)) {
    return fail("is not an expert store of version 1");
  }
  return value.runs.map((run: Record<string, unknown>): SteRun => {
    const { exp_num: expNum, regime_num: regime, test, columns, source } = run;
    if (
      !Array.isArray(expNum) ||
      !Array.isArray(regime) ||
      !Array.isArray(test) ||
      typeof columns !== "object"
    ) {
      return fail("has a run without exp_num, regime_num, test or columns");
    }
    const entries = Object.entries(columns as Record<string, (number | null)[]>);
    if (entries.some(([, cells]) => cells.length !== expNum.length) || regime.length !== expNum.length) {
      return fail("has columns of different lengths");
    }
    return {
      source: String(source),
      expNum: Int32Array.from(expNum as number[]),
      regime: Int32Array.from(regime as number[]),
      test: Uint8Array.from(test as number[]),
      columns: new Map(
        entries.map(([name, cells]) => [name, Float64Array.from(cells, (c) => c ?? Number.NaN)]),
      ),
    };
  });
}
