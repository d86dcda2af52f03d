import { readFileSync, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { DataError } from "@everlong/core";
import {
  BLOCK_SUBTYPES,
  BLOCK_TYPES,
  COMPLEXITIES,
  DIFFICULTIES,
  EXPERIENCE_STATUSES,
  type LoggerInfo,
  SCENARIO_TYPES,
  type ScenarioInfo,
  STANDARD_COLUMNS,
  TASK_NAME_PATTERN,
  WORKER_PATTERN,
} from "./format.ts";
import { type LogTable, takeRows } from "./table.ts";
import { parseTsv, type TsvTable } from "./tsv.ts";

const OP = "read log";

/** What the reader may mend instead of refusing; each is off unless named. */
export const REPAIRS = {
  "partial-line": "drop a last line that was cut while being written",
  "reordered-blocks":
    "restore the order of experiences when blocks stand in another order than experience numbers",
  "ragged-lines": "drop lines with too many or too few cells",
} as const;
export type Repair = keyof typeof REPAIRS;

export interface ReadOptions {
  /** Default none. */
  readonly repair?: readonly Repair[];
}

/** One log folder, read and checked. */
export interface LifetimeLog {
  readonly dir: string;
  /** Folder name: the run's identity in reports. */
  readonly runId: string;
  readonly loggerInfo: LoggerInfo;
  readonly scenarioInfo: ScenarioInfo;
  readonly table: LogTable;
  /** What was unusual or mended, in words. */
  readonly warnings: readonly string[];
}

/** Root of the original's data folders: `$L2DATA`, else `~/l2data`. */
export function l2dataRoot(): string {
  return process.env["L2DATA"] ?? join(homedir(), "l2data");
}

/** `dir` itself, or `$L2DATA/logs/<dir>` for a bare name that does not exist here. */
export function resolveLogDir(dir: string): string {
  for (const candidate of [dir, ...(basename(dir) === dir ? [join(l2dataRoot(), "logs", dir)] : [])]) {
    if (isDirectory(candidate)) return candidate;
  }
  throw new DataError(OP, `no log folder ${JSON.stringify(dir)}`, {
    hint: `A bare name is also looked up in ${join(l2dataRoot(), "logs")}.`,
  });
}

/** Every log folder below `dir` (itself included), sorted by path: those with a `logger_info.json`. */
export function findLogDirs(dir: string): string[] {
  const found: string[] = [];
  const visit = (path: string): void => {
    const entries = readdirSync(path, { withFileTypes: true });
    if (entries.some((entry) => entry.isFile() && entry.name === "logger_info.json")) found.push(path);
    for (const entry of entries) if (entry.isDirectory()) visit(join(path, entry.name));
  };
  visit(resolveLogDir(dir));
  return found.sort((a, b) => (a < b ? -1 : 1));
}

/**
 * Reads one log folder of format 1.0 or 1.1 and checks it as the original's validator does: columns, counters,
 * block types, statuses, worker ids, JSON of task parameters.
 *
 * @throws DataError with file, line and remedy
 */
export function readLog(dir: string, options: ReadOptions = {}): LifetimeLog {
  const path = resolveLogDir(dir);
  const repair = new Set(options.repair ?? []);
  const warnings: string[] = [];
  const loggerInfo = readLoggerInfo(path);
  const scenarioInfo = readScenarioInfo(path, warnings);
  const files = dataFiles(path);
  if (files.length === 0) {
    throw new DataError(OP, `no data-log.tsv below ${path}`, {
      expected: "<worker>/<block number>-<block type>/data-log.tsv",
    });
  }
  const columns = new Columns();
  for (const file of files) {
    const name = relative(path, file);
    const parsed = parseTsv(readFileSync(file, "utf8"));
    checkLines(name, parsed, repair, warnings);
    checkHeader(name, parsed.header, loggerInfo);
    columns.add(name, parsed);
  }
  const table = columns.finish(repair, warnings);
  for (const task of table.tasks) {
    if (!TASK_NAME_PATTERN.test(task)) {
      warnings.push(`task name "${task}" is not of the form <task label>_<variant label>`);
    }
  }
  return { dir: path, runId: basename(path), loggerInfo, scenarioInfo, table, warnings };
}

/** Reads and checks `logger_info.json`. */
export function readLoggerInfo(dir: string): LoggerInfo {
  const info = readJson(join(dir, "logger_info.json"));
  const columns = (info as { metrics_columns?: unknown }).metrics_columns;
  if (!Array.isArray(columns) || columns.length === 0 || columns.some((c) => typeof c !== "string")) {
    throw new DataError(OP, `metrics_columns of ${join(basename(dir), "logger_info.json")} is not usable`, {
      expected: "a non-empty list of column names",
      got: JSON.stringify(columns) ?? "nothing",
    });
  }
  return info as LoggerInfo;
}

/** Reads `scenario_info.json`; unknown or missing classes are warned about, not refused. */
export function readScenarioInfo(dir: string, warnings: string[]): ScenarioInfo {
  const info = readJson(join(dir, "scenario_info.json")) as ScenarioInfo;
  for (const [key, allowed] of [
    ["complexity", COMPLEXITIES],
    ["difficulty", DIFFICULTIES],
    ["scenario_type", SCENARIO_TYPES],
  ] as const) {
    const value: unknown = info[key];
    if (value === undefined) warnings.push(`scenario_info.json has no ${key}`);
    else if (typeof value !== "string" || !(allowed as readonly string[]).includes(value.toLowerCase())) {
      warnings.push(
        `scenario_info.json: ${key} is ${JSON.stringify(value)}, not one of ${allowed.join(", ")}`,
      );
    }
  }
  return info;
}

function readJson(file: string): object {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new DataError(OP, `no ${basename(file)} in ${resolve(dirname(file))}`, {
      hint: "Is this a log folder written by l2logger or by Everlong?",
      cause,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError(OP, `${file} is not JSON`, { got: (cause as Error).message, cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new DataError(OP, `${file} is not a JSON object`);
  }
  return value;
}

function dataFiles(dir: string): string[] {
  const files: string[] = [];
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) files.push(...dataFiles(path));
    else if (entry.name === "data-log.tsv") files.push(path);
  }
  return files.sort((a, b) => (a < b ? -1 : 1));
}

function checkLines(name: string, parsed: TsvTable, repair: Set<Repair>, warnings: string[]): void {
  const lastRow = parsed.lines.at(-1) ?? 0;
  for (const { line, cells } of parsed.ragged) {
    const cut = !parsed.complete && line > lastRow;
    const wanted: Repair = cut ? "partial-line" : "ragged-lines";
    if (!repair.has(wanted)) {
      throw new DataError(OP, `${name}:${line} ${cut ? "was cut while being written" : "is ragged"}`, {
        expected: `${parsed.header.length} cells`,
        got: String(cells),
        hint: `Repair "${wanted}" drops it.`,
      });
    }
    warnings.push(`${name}:${line} dropped (${wanted})`);
  }
  // a line without its end may be cut inside the last cell: 12.5 written as 1 looks whole
  if (!parsed.complete && lastRow > 0 && (parsed.ragged.at(-1)?.line ?? 0) < lastRow) {
    if (!repair.has("partial-line")) {
      throw new DataError(OP, `${name}:${lastRow} has no line end and may be cut`, {
        hint: 'Repair "partial-line" drops it.',
      });
    }
    warnings.push(`${name}:${lastRow} dropped (partial-line)`);
    for (const column of parsed.columns) (column as string[]).pop();
    (parsed.lines as number[]).pop();
    (parsed as { length: number }).length--;
  }
}

function checkHeader(name: string, header: readonly string[], info: LoggerInfo): void {
  const required = [...STANDARD_COLUMNS.filter((c) => c !== "block_subtype"), ...info.metrics_columns];
  const missing = required.filter((column) => !header.includes(column));
  if (missing.length > 0) {
    throw new DataError(OP, `${name} lacks ${missing.map((m) => `column "${m}"`).join(", ")}`, {
      expected: `at least ${required.join(", ")}`,
      got: header.join(", "),
    });
  }
  const repeated = header.filter((column, i) => header.indexOf(column) !== i);
  if (repeated.length > 0) throw new DataError(OP, `${name} repeats column "${repeated[0]}"`);
}

class Intern {
  readonly values: string[] = [];
  readonly #index = new Map<string, number>();
  of(value: string): number {
    let i = this.#index.get(value);
    if (i === undefined) {
      i = this.values.length;
      this.values.push(value);
      this.#index.set(value, i);
    }
    return i;
  }
}

class Columns {
  readonly #blockNum: number[] = [];
  readonly #expNum: number[] = [];
  readonly #test: number[] = [];
  readonly #sleep: number[] = [];
  readonly #complete: number[] = [];
  readonly #task: number[] = [];
  readonly #param: number[] = [];
  readonly #worker: number[] = [];
  readonly #timestamp: string[] = [];
  readonly #tasks = new Intern();
  readonly #params = new Intern();
  readonly #workers = new Intern();
  readonly #extra = new Map<string, string[]>();

  add(name: string, parsed: TsvTable): void {
    const at = (column: string): readonly string[] => parsed.columns[parsed.header.indexOf(column)]!;
    const fail = (row: number, column: string, expected: string, got: string): never => {
      throw new DataError(OP, `${name}:${parsed.lines[row]} ${column} is wrong`, {
        expected,
        got: JSON.stringify(got),
      });
    };
    const before = this.#blockNum.length;
    const counters = (column: string, into: number[]): void => {
      for (const [row, cell] of at(column).entries()) {
        const value = cell === "" ? Number.NaN : Number(cell);
        if (!Number.isInteger(value) || value < 0) fail(row, column, "a non-negative integer", cell);
        into.push(value);
      }
    };
    const choices = (column: string, allowed: readonly string[], into: number[]): void => {
      for (const [row, cell] of at(column).entries()) {
        const i = allowed.indexOf(cell);
        if (i < 0) fail(row, column, allowed.join(" or "), cell);
        into.push(i);
      }
    };
    counters("block_num", this.#blockNum);
    counters("exp_num", this.#expNum);
    choices("block_type", BLOCK_TYPES, this.#test);
    if (parsed.header.includes("block_subtype")) choices("block_subtype", BLOCK_SUBTYPES, this.#sleep);
    else for (let row = 0; row < parsed.length; row++) this.#sleep.push(0);
    const incomplete: number[] = [];
    choices("exp_status", EXPERIENCE_STATUSES, incomplete);
    for (const flag of incomplete) this.#complete.push(1 - flag);
    for (const cell of at("task_name")) this.#task.push(this.#tasks.of(cell.toLowerCase()));
    for (const cell of at("timestamp")) this.#timestamp.push(cell);
    for (const [row, cell] of at("worker_id").entries()) {
      const known = this.#workers.values.length;
      this.#worker.push(this.#workers.of(cell));
      if (this.#workers.values.length > known && !WORKER_PATTERN.test(cell)) {
        fail(row, "worker_id", "letters, digits, hyphens, underscores or periods", cell);
      }
    }
    for (const [row, cell] of at("task_params").entries()) {
      const known = this.#params.values.length;
      this.#param.push(this.#params.of(cell));
      if (this.#params.values.length > known && cell !== "" && !isJson(cell)) {
        fail(row, "task_params", "JSON", cell);
      }
    }
    const standard = new Set<string>(STANDARD_COLUMNS);
    for (const [c, column] of parsed.header.entries()) {
      if (standard.has(column)) continue;
      let cells = this.#extra.get(column);
      if (cells === undefined) this.#extra.set(column, (cells = Array.from({ length: before }, () => "")));
      for (const cell of parsed.columns[c]!) cells.push(cell);
    }
    for (const cells of this.#extra.values()) while (cells.length < this.#blockNum.length) cells.push("");
  }

  finish(repair: Set<Repair>, warnings: string[]): LogTable {
    const rows = this.#blockNum.length;
    const numbers = new Map<string, Float64Array>();
    const texts = new Map<string, readonly string[]>();
    for (const [column, cells] of this.#extra) {
      const values = new Float64Array(rows);
      const numeric = cells.every((cell, r) => {
        values[r] = parseNumber(cell);
        return !Number.isNaN(values[r]!) || isMissing(cell);
      });
      if (numeric) numbers.set(column, values);
      else texts.set(column, cells);
    }
    const table: LogTable = {
      rows,
      blockNum: Int32Array.from(this.#blockNum),
      expNum: Int32Array.from(this.#expNum),
      test: Uint8Array.from(this.#test),
      sleep: Uint8Array.from(this.#sleep),
      complete: Uint8Array.from(this.#complete),
      task: Int32Array.from(this.#task),
      tasks: this.#tasks.values,
      param: Int32Array.from(this.#param),
      params: this.#params.values,
      worker: Int32Array.from(this.#worker),
      workers: this.#workers.values,
      timestamp: this.#timestamp,
      numbers,
      texts,
    };
    return inOrder(table, repair, warnings);
  }
}

// The original sorts by experience, then refuses falling block numbers. The order of blocks is the truth in a
// log whose experience numbers restart, which is what the repair assumes.
function inOrder(table: LogTable, repair: Set<Repair>, warnings: string[]): LogTable {
  const byExperience = sortedRows(table.rows, [table.expNum, table.blockNum]);
  const fall = byExperience.findIndex(
    (row, i) => i > 0 && table.blockNum[row]! < table.blockNum[byExperience[i - 1]!]!,
  );
  if (fall < 0) return takeRows(table, byExperience);
  const [before, row] = [byExperience[fall - 1]!, byExperience[fall]!];
  if (!repair.has("reordered-blocks")) {
    throw new DataError(OP, "blocks are not in the order of their experiences", {
      expected: "block_num to rise with exp_num",
      got: `block ${table.blockNum[before]} at experience ${table.expNum[before]}, then block ${table.blockNum[row]} at ${table.expNum[row]}`,
      hint: 'Repair "reordered-blocks" orders by block_num and renumbers the experiences.',
    });
  }
  warnings.push("experiences renumbered in the order of their blocks (reordered-blocks)");
  const ordered = takeRows(table, sortedRows(table.rows, [table.blockNum, table.expNum]));
  return { ...ordered, expNum: Int32Array.from({ length: table.rows }, (_, i) => i) };
}

function sortedRows(rows: number, keys: readonly Int32Array[]): Int32Array {
  const order = Int32Array.from({ length: rows }, (_, i) => i);
  return order.sort((a, b) => {
    for (const key of keys) {
      const d = key[a]! - key[b]!;
      if (d !== 0) return d;
    }
    return a - b;
  });
}

const MISSING = new Set(["", "nan", "na", "n/a", "null", "none"]);

function isMissing(cell: string): boolean {
  return MISSING.has(cell.toLowerCase());
}

function parseNumber(cell: string): number {
  if (cell === "") return Number.NaN;
  const value = Number(cell);
  if (!Number.isNaN(value)) return value;
  if (/^[+-]?inf(inity)?$/i.test(cell)) return cell.startsWith("-") ? -Infinity : Infinity;
  return Number.NaN;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
