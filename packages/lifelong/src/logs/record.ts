import { DataError } from "@everlong/core";
import {
  BLOCK_SUBTYPES,
  BLOCK_TYPES,
  EXPERIENCE_STATUSES,
  type Json,
  STANDARD_COLUMNS,
  WORKER_PATTERN,
} from "./format.ts";

const OP = "log record";

/** What a valid record looks like after its defaults are filled in; `timestamp` is still absent. */
export interface FullRecord {
  readonly block_num: number;
  readonly exp_num: number;
  readonly worker_id: string;
  readonly block_type: string;
  readonly [column: string]: Json | undefined;
}

/** What earlier records of the same log fix for later ones. */
export interface RecordHistory {
  /** File columns in order, once the first record is known. */
  columns: readonly string[] | null;
  lastBlock: number;
  lastExperience: number;
}

/** History of a log that has no record yet. */
export function emptyHistory(): RecordHistory {
  return { columns: null, lastBlock: -1, lastExperience: -1 };
}

/**
 * Fills in defaults and checks one record against the format and against the records before it.
 *
 * @param metricColumns columns promised in `logger_info.json`
 * @returns the record with defaults, without `timestamp`
 * @throws DataError naming the field, what the format wants and what was given
 */
export function checkRecord(
  record: unknown,
  metricColumns: readonly string[],
  history: RecordHistory,
): FullRecord {
  if (typeof record !== "object" || record === null || Array.isArray(record)) {
    throw new DataError(OP, "record is not an object", { got: describe(record) });
  }
  if ("timestamp" in record) {
    throw new DataError(OP, "timestamp is written by the logger and cannot be supplied", {
      hint: 'Leave "timestamp" out of the record.',
    });
  }
  // the checks below make it what its type says
  const full = {
    worker_id: "worker-default",
    block_subtype: "wake",
    exp_status: "complete",
    ...record,
  } as unknown as FullRecord;
  checkColumns(full, metricColumns, history);
  choice(full, "block_type", BLOCK_TYPES);
  choice(full, "block_subtype", BLOCK_SUBTYPES);
  choice(full, "exp_status", EXPERIENCE_STATUSES);
  const worker: unknown = full.worker_id;
  if (typeof worker !== "string" || !WORKER_PATTERN.test(worker)) {
    throw new DataError(OP, "worker_id has characters a folder name may not have", {
      expected: "letters, digits, hyphens, underscores or periods",
      got: describe(worker),
    });
  }
  const params = full["task_params"];
  if (typeof params !== "object" || params === null || Array.isArray(params)) {
    throw new DataError(OP, "task_params is not an object", { got: describe(params) });
  }
  assertJson(params, "task_params");
  counter(full, "block_num", history.lastBlock);
  counter(full, "exp_num", history.lastExperience);
  return full;
}

/** File columns for a log whose first record is `record`. */
export function columnsOf(record: FullRecord): string[] {
  const standard = new Set<string>(STANDARD_COLUMNS);
  const extra = Object.keys(record).filter((key) => !standard.has(key));
  // code-point order, as the format demands: locale rules would differ between machines
  extra.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return [...STANDARD_COLUMNS, ...extra];
}

function checkColumns(full: FullRecord, metricColumns: readonly string[], history: RecordHistory): void {
  const got = new Set([...Object.keys(full), "timestamp"]);
  if (history.columns === null) {
    const missing = [...STANDARD_COLUMNS, ...metricColumns].filter((column) => !got.has(column));
    if (missing.length > 0) {
      throw new DataError(OP, `record lacks ${missing.map((m) => `"${m}"`).join(", ")}`, {
        expected: `at least ${[...STANDARD_COLUMNS, ...metricColumns].join(", ")}`,
        got: [...got].join(", "),
      });
    }
    return;
  }
  const missing = history.columns.filter((column) => !got.has(column));
  const surplus = [...got].filter((column) => !history.columns!.includes(column));
  if (missing.length + surplus.length > 0) {
    throw new DataError(OP, "record has other columns than the first one of this log", {
      expected: history.columns.join(", "),
      got: [
        missing.length > 0 ? `no ${missing.join(", ")}` : "",
        surplus.length > 0 ? `also ${surplus.join(", ")}` : "",
      ]
        .filter(Boolean)
        .join("; "),
    });
  }
}

function choice(record: FullRecord, key: string, allowed: readonly string[]): void {
  const value = record[key];
  if (typeof value !== "string" || !allowed.includes(value)) {
    throw new DataError(OP, `${key} is not one of its values`, {
      expected: allowed.join(" or "),
      got: describe(value),
    });
  }
}

function counter(record: FullRecord, key: string, last: number): void {
  const value = record[key];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new DataError(OP, `${key} is not a non-negative integer`, { got: describe(value) });
  }
  if (value < last) {
    throw new DataError(OP, `${key} decreases`, { expected: `at least ${last}`, got: String(value) });
  }
}

function assertJson(value: unknown, path: string): void {
  if (value === null || typeof value === "boolean" || typeof value === "string") return;
  if (typeof value === "number") {
    if (Number.isFinite(value)) return;
    throw new DataError(OP, `${path} has a number JSON cannot hold`, { got: String(value) });
  }
  if (Array.isArray(value)) {
    value.forEach((item, i) => assertJson(item, `${path}[${i}]`));
    return;
  }
  const prototype: unknown = typeof value === "object" ? Object.getPrototypeOf(value) : undefined;
  if (prototype === Object.prototype || prototype === null) {
    for (const [key, item] of Object.entries(value as object)) assertJson(item, `${path}.${key}`);
    return;
  }
  throw new DataError(OP, `${path} is not JSON`, { got: describe(value) });
}

function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null)
    return `an object (${value.constructor?.name ?? "null prototype"})`;
  return String(value);
}
