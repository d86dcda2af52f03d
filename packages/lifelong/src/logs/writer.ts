import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import { DataError } from "@everlong/core";
import { makeFolder } from "@everlong/data";
import { type Json, LOG_FORMAT_VERSION, type LoggerInfo, type ScenarioInfo } from "./format.ts";
import { checkRecord, columnsOf, emptyHistory, type FullRecord, type RecordHistory } from "./record.ts";
import { dumpJson, encodeCell } from "./tsv.ts";

const OP = "log writer";

export interface LogWriterOptions {
  /** Folder that holds the log folders; created if absent. */
  readonly baseDir: string;
  /** Scenario name: the folder is `<scenario>-<folderSuffix>`. */
  readonly scenario: string;
  readonly loggerInfo: LoggerInfo;
  readonly scenarioInfo?: ScenarioInfo;
  /** Default: seconds and microseconds of the clock, as the original names its folders. */
  readonly folderSuffix?: string;
  /** Clock for timestamps, milliseconds since 1970; default the system's, to the microsecond. A fixed one makes logs byte-equal. */
  readonly now?: () => number;
}

/** Writes one lifetime in log format 1.1. Rows reach the file at once, so a killed run loses at most a line. */
export class LogWriter {
  /** The log folder. */
  readonly dir: string;
  readonly #metricColumns: readonly string[];
  readonly #history: RecordHistory = emptyHistory();
  readonly #now: () => number;
  #file: { path: string; descriptor: number } | null = null;

  /** @throws DataError when `loggerInfo.metrics_columns` is not a non-empty list of strings */
  constructor(options: LogWriterOptions) {
    const columns: unknown = (options.loggerInfo as Partial<LoggerInfo> | null)?.metrics_columns;
    if (!Array.isArray(columns) || columns.length === 0 || columns.some((c) => typeof c !== "string")) {
      throw new DataError(OP, "loggerInfo.metrics_columns is not usable", {
        expected: "a non-empty list of column names",
        got: JSON.stringify(columns) ?? "nothing",
      });
    }
    this.#metricColumns = columns;
    this.#now = options.now ?? systemClock;
    const name = basename(options.scenario).split(".")[0]!;
    this.dir = join(options.baseDir, `${name}-${options.folderSuffix ?? clockSuffix(this.#now())}`);
    makeFolder(this.dir);
    const info = { ...options.loggerInfo, log_format_version: LOG_FORMAT_VERSION };
    writeFileSync(join(this.dir, "logger_info.json"), JSON.stringify(info, null, 2));
    writeFileSync(join(this.dir, "scenario_info.json"), JSON.stringify(options.scenarioInfo ?? {}, null, 2));
  }

  /**
   * Appends one experience; typed as `unknown` because the check is the point.
   *
   * @throws DataError from {@link checkRecord}; nothing is written then
   */
  write(record: unknown): void {
    const full = checkRecord(record, this.#metricColumns, this.#history);
    this.#history.columns ??= columnsOf(full);
    this.#history.lastBlock = full.block_num;
    this.#history.lastExperience = full.exp_num;
    const descriptor = this.#open(full, this.#history.columns);
    const timestamp = formatTimestamp(this.#now());
    const stamped: FullRecord = { ...full, timestamp };
    const cells = this.#history.columns.map((column) => encodeCell(cellText(column, stamped[column])));
    writeSync(descriptor, `${cells.join("\t")}\n`);
  }

  /** Closes the current file; writing again reopens it. */
  close(): void {
    if (this.#file !== null) closeSync(this.#file.descriptor);
    this.#file = null;
  }

  #open(record: FullRecord, columns: readonly string[]): number {
    const dir = join(this.dir, record.worker_id, `${record.block_num}-${record.block_type}`);
    const path = join(dir, "data-log.tsv");
    if (this.#file?.path === path) return this.#file.descriptor;
    this.close();
    makeFolder(dir);
    const header = `${columns.map(encodeCell).join("\t")}\n`;
    const old = existsSync(path) ? readFileSync(path, "utf8") : "";
    if (old !== "" && !old.startsWith(header)) {
      throw new DataError(OP, `${path} has other columns than this log`, {
        expected: columns.join(", "),
        got: old.slice(0, old.indexOf("\n")).replaceAll("\t", ", "),
      });
    }
    const descriptor = openSync(path, "a");
    if (old === "") writeSync(descriptor, header);
    this.#file = { path, descriptor };
    return descriptor;
  }
}

function cellText(column: string, value: Json | undefined): string {
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return "";
  return column === "task_params" || typeof value === "object" ? dumpJson(value) : String(value);
}

/** `20201020T230415.363982`: local time, microseconds. */
export function formatTimestamp(ms: number): string {
  const total = Math.round(ms * 1000);
  const date = new Date(Math.floor(total / 1000));
  const pad = (value: number, width: number): string => String(value).padStart(width, "0");
  return (
    `${pad(date.getFullYear(), 4)}${pad(date.getMonth() + 1, 2)}${pad(date.getDate(), 2)}T` +
    `${pad(date.getHours(), 2)}${pad(date.getMinutes(), 2)}${pad(date.getSeconds(), 2)}.${pad(total % 1_000_000, 6)}`
  );
}

/** Seconds between two timestamps of the log format; NaN if either does not parse. */
export function secondsBetween(first: string, last: string): number {
  return (microseconds(last) - microseconds(first)) / 1e6;
}

function microseconds(timestamp: string): number {
  const m = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})\.(\d{1,6})$/.exec(timestamp);
  if (m === null) return Number.NaN;
  const [year, month, day, hour, minute, second] = m.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  // calendar arithmetic without a time zone, as the original does with naive datetimes
  return Date.UTC(year, month - 1, day, hour, minute, second) * 1000 + Number(m[7]!.padEnd(6, "0"));
}

function systemClock(): number {
  return performance.timeOrigin + performance.now();
}

function clockSuffix(ms: number): string {
  return `${Math.floor(ms / 1000)}-${String(Math.floor((ms % 1000) * 1000)).padStart(6, "0")}`;
}
