import type { BlockSubtype, BlockType } from "./format.ts";

/** A stretch of experiences with one block, block type, block subtype and task. */
export interface Regime {
  /** Index in the lifetime, from 0. */
  readonly index: number;
  readonly blockNum: number;
  readonly blockType: BlockType;
  readonly blockSubtype: BlockSubtype;
  readonly task: string;
  /** JSON text of the first experience's parameters; empty if the log has none. */
  readonly taskParams: string;
  /** Rows `start <= row < end` of the lifetime's columns. */
  readonly start: number;
  readonly end: number;
}

/**
 * The experiences of one log folder as columns, in order of experience. `rows` is the common length.
 * Strings are indices into small tables, since a lifetime repeats a few of them 100,000 times.
 */
export interface LogTable {
  readonly rows: number;
  readonly blockNum: Int32Array;
  readonly expNum: Int32Array;
  /** 0 train, 1 test. */
  readonly test: Uint8Array;
  /** 0 wake, 1 sleep. */
  readonly sleep: Uint8Array;
  /** 1 complete, 0 incomplete. */
  readonly complete: Uint8Array;
  /** Index into `tasks`. */
  readonly task: Int32Array;
  /** Lower-case task names in order of appearance. */
  readonly tasks: readonly string[];
  /** Index into `params`. */
  readonly param: Int32Array;
  /** JSON texts of task parameters. */
  readonly params: readonly string[];
  /** Index into `workers`. */
  readonly worker: Int32Array;
  readonly workers: readonly string[];
  readonly timestamp: readonly string[];
  /** Columns in which every cell is a number or empty (empty reads as NaN). */
  readonly numbers: ReadonlyMap<string, Float64Array>;
  /** Columns with other text. */
  readonly texts: ReadonlyMap<string, readonly string[]>;
}

/** Columns of a {@link LogTable} taken at the given rows, in that order. */
export function takeRows(table: LogTable, rows: Int32Array): LogTable {
  const ints = (source: Int32Array): Int32Array => Int32Array.from(rows, (r) => source[r]!);
  const bytes = (source: Uint8Array): Uint8Array => Uint8Array.from(rows, (r) => source[r]!);
  return {
    ...table,
    rows: rows.length,
    blockNum: ints(table.blockNum),
    expNum: ints(table.expNum),
    test: bytes(table.test),
    sleep: bytes(table.sleep),
    complete: bytes(table.complete),
    task: ints(table.task),
    param: ints(table.param),
    worker: ints(table.worker),
    timestamp: Array.from(rows, (r) => table.timestamp[r]!),
    numbers: new Map(
      [...table.numbers].map(([key, value]) => [key, Float64Array.from(rows, (r) => value[r]!)]),
    ),
    texts: new Map([...table.texts].map(([key, value]) => [key, Array.from(rows, (r) => value[r]!)])),
  };
}

/** Rows for which `keep` holds. */
export function filterRows(table: LogTable, keep: (row: number) => boolean): LogTable {
  const rows: number[] = [];
  for (let r = 0; r < table.rows; r++) if (keep(r)) rows.push(r);
  return rows.length === table.rows ? table : takeRows(table, Int32Array.from(rows));
}

/** Drops the variant label: `cartpole_heavy` becomes `cartpole` (the original's variant-agnostic mode). */
export function mergeVariants(table: LogTable): LogTable {
  const tasks: string[] = [];
  const renamed = table.tasks.map((name) => {
    const base = name.split("_")[0]!;
    if (!tasks.includes(base)) tasks.push(base);
    return tasks.indexOf(base);
  });
  return { ...table, tasks, task: table.task.map((t) => renamed[t]!) };
}

/** Cuts a table into regimes: a new one starts when block, type, subtype or task changes. */
export function findRegimes(table: LogTable): Regime[] {
  const regimes: Regime[] = [];
  let start = 0;
  for (let r = 1; r <= table.rows; r++) {
    const same =
      r < table.rows &&
      table.blockNum[r] === table.blockNum[r - 1] &&
      table.test[r] === table.test[r - 1] &&
      table.sleep[r] === table.sleep[r - 1] &&
      table.task[r] === table.task[r - 1];
    if (same) continue;
    regimes.push({
      index: regimes.length,
      blockNum: table.blockNum[start]!,
      blockType: table.test[start] === 1 ? "test" : "train",
      blockSubtype: table.sleep[start] === 1 ? "sleep" : "wake",
      task: table.tasks[table.task[start]!]!,
      taskParams: table.params[table.param[start]!] ?? "",
      start,
      end: r,
    });
    start = r;
  }
  return regimes;
}

/** Task names in order of first training; tasks that are only evaluated follow. */
export function tasksByTraining(regimes: readonly Regime[]): string[] {
  const ordered = [...regimes].sort(
    (a, b) => Number(a.blockType === "test") - Number(b.blockType === "test") || a.blockNum - b.blockNum,
  );
  return [...new Set(ordered.map((regime) => regime.task))];
}
