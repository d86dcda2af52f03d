// The l2logger 1.1 log format (JHU/APL l2logger, docs/log_format.md and docs/interface.md): names and allowed values.

/** Version written into `logger_info.json`; the reader also takes 1.0, which has no `block_subtype` column. */
export const LOG_FORMAT_VERSION = "1.1";

/** Columns of every `data-log.tsv`, in file order; extra columns follow in code-point order. */
export const STANDARD_COLUMNS = [
  "block_num",
  "exp_num",
  "worker_id",
  "block_type",
  "block_subtype",
  "task_name",
  "task_params",
  "exp_status",
  "timestamp",
] as const;

export const BLOCK_TYPES = ["train", "test"] as const;
export const BLOCK_SUBTYPES = ["wake", "sleep"] as const;
export const EXPERIENCE_STATUSES = ["complete", "incomplete"] as const;
export const COMPLEXITIES = ["1-low", "2-intermediate", "3-high"] as const;
export const DIFFICULTIES = ["1-easy", "2-medium", "3-hard"] as const;
export const SCENARIO_TYPES = ["condensed", "dispersed", "permuted", "alternating", "ste", "custom"] as const;

export type BlockType = (typeof BLOCK_TYPES)[number];
export type BlockSubtype = (typeof BLOCK_SUBTYPES)[number];
export type ExperienceStatus = (typeof EXPERIENCE_STATUSES)[number];

/** Worker ids name folders, so the format keeps them to this alphabet. */
export const WORKER_PATTERN: RegExp = /^[0-9a-zA-Z_\-.]+$/;
/** `<task label>_<variant label>`: recommended, only warned about. */
export const TASK_NAME_PATTERN: RegExp = /^[0-9a-zA-Z]+_[0-9a-zA-Z]+$/;

/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** `logger_info.json`: which columns metrics may be computed on. */
export interface LoggerInfo {
  readonly metrics_columns: readonly string[];
  readonly log_format_version?: string;
  readonly [key: string]: Json | undefined;
}

/** `scenario_info.json`: free-form, with three fields that evaluations group by. */
export interface ScenarioInfo {
  readonly complexity?: string;
  readonly difficulty?: string;
  readonly scenario_type?: string;
  readonly [key: string]: Json | undefined;
}

/** One experience as given to the writer. `timestamp` is the writer's own. */
export interface LogRecord {
  /** Non-negative, non-decreasing. */
  readonly block_num: number;
  /** Non-negative, non-decreasing. */
  readonly exp_num: number;
  readonly block_type: BlockType;
  readonly task_name: string;
  readonly task_params: { readonly [key: string]: Json };
  /** Default `worker-default`. */
  readonly worker_id?: string;
  /** Default `wake`. */
  readonly block_subtype?: BlockSubtype;
  /** Default `complete`. */
  readonly exp_status?: ExperienceStatus;
  /** Metric columns and anything else; the same columns in every record. */
  readonly [column: string]: Json | undefined;
}
