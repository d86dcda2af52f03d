import { checkOptions, ConfigError } from "@everlong/core";
import { SMOOTHING_WINDOWS } from "./smooth.ts";

/** Performance range of a task in its own unit. */
export interface DataRange {
  readonly min: number;
  readonly max: number;
}

/** Options of the metrics pipeline; defaults are those of the original's command line. */
export interface MetricsOptions {
  readonly perfMeasure?: string;
  readonly variantMode?: "aware" | "agnostic";
  readonly steAveraging?: "metrics" | "time";
  readonly aggregation?: "mean" | "median";
  readonly maintenance?: "mrlep" | "mrtlp" | "both";
  readonly transfer?: "ratio" | "contrast" | "both";
  readonly normalization?: "task" | "run" | "none";
  readonly smoothing?: (typeof SMOOTHING_WINDOWS)[number] | "none";
  readonly smoothEval?: boolean;
  readonly windowLength?: number | null;
  readonly clampOutliers?: boolean;
  /** Task name (lower case) to range, for clamping and normalising; null: from the data. */
  readonly dataRange?: Readonly<Record<string, DataRange>> | null;
  /** Mean and standard deviation of Gaussian noise added to processed performance. */
  readonly noise?: readonly [number, number];
  readonly noiseSeed?: number;
  readonly unit?: "exp_num" | "steps";
  /** Follow the original where it differs from its definitions: a later transfer overwrites an earlier one. */
  readonly compat?: boolean;
}

/** All options with values. */
export type ResolvedMetricsOptions = Required<MetricsOptions>;

/** One row of the option table, from which the command line and its help are made. */
export interface MetricsOptionSpec {
  readonly key: keyof MetricsOptions;
  /** Flag letter of the original, where it has one. */
  readonly short?: string;
  /** Name in the original's settings files; the long flag is the same with hyphens, unless `flag` says otherwise. */
  readonly settingsKey: string;
  readonly flag?: string;
  readonly help: string;
  readonly choices?: readonly string[];
  readonly kind: "choice" | "text" | "flag" | "integer" | "pair" | "file";
  readonly default: unknown;
}

export const METRICS_OPTIONS: readonly MetricsOptionSpec[] = [
  {
    key: "perfMeasure",
    short: "p",
    settingsKey: "perf_measure",
    kind: "text",
    default: "reward",
    help: "column that measures performance",
  },
  {
    key: "variantMode",
    short: "r",
    settingsKey: "variant_mode",
    kind: "choice",
    choices: ["aware", "agnostic"],
    default: "aware",
    help: "task variants apart, or merged by task label",
  },
  {
    key: "steAveraging",
    short: "v",
    settingsKey: "ste_averaging_method",
    kind: "choice",
    choices: ["metrics", "time"],
    default: "metrics",
    help: "several expert runs: average the metrics, or the curves",
  },
  {
    key: "aggregation",
    short: "a",
    settingsKey: "aggregation_method",
    kind: "choice",
    choices: ["mean", "median"],
    default: "mean",
    help: "lifetime value from task values",
  },
  {
    key: "maintenance",
    short: "m",
    settingsKey: "maintenance_method",
    kind: "choice",
    choices: ["mrlep", "mrtlp", "both"],
    default: "mrlep",
    help: "maintenance against the most recent learning evaluation, or the most recent terminal learning performance",
  },
  {
    key: "transfer",
    short: "t",
    settingsKey: "transfer_method",
    kind: "choice",
    choices: ["ratio", "contrast", "both"],
    default: "ratio",
    help: "form of forward and backward transfer",
  },
  {
    key: "normalization",
    short: "n",
    settingsKey: "normalization_method",
    kind: "choice",
    choices: ["task", "run", "none"],
    default: "task",
    help: "scale to 1..101 by the range of each task, or of all",
  },
  {
    key: "smoothing",
    short: "g",
    settingsKey: "smoothing_method",
    kind: "choice",
    choices: [...SMOOTHING_WINDOWS, "none"],
    default: "flat",
    help: "window of the moving average",
  },
  {
    key: "smoothEval",
    short: "G",
    settingsKey: "do_smooth_eval_data",
    flag: "smooth-eval-data",
    kind: "flag",
    default: false,
    help: "smooth evaluation blocks too",
  },
  {
    key: "windowLength",
    short: "w",
    settingsKey: "window_length",
    kind: "integer",
    default: null,
    help: "window length; default a fifth of the block, at most 100",
  },
  {
    key: "clampOutliers",
    short: "x",
    settingsKey: "clamp_outliers",
    kind: "flag",
    default: false,
    help: "clamp each task to its 10 % and 90 % quantiles, or to the data range",
  },
  {
    key: "dataRange",
    short: "d",
    settingsKey: "data_range",
    flag: "data-range-file",
    kind: "file",
    default: null,
    help: "JSON file of task ranges {task: {min, max}}",
  },
  {
    key: "noise",
    short: "N",
    settingsKey: "noise",
    kind: "pair",
    default: [0, 0],
    help: "mean and standard deviation of Gaussian noise on performance",
  },
  { key: "noiseSeed", settingsKey: "noise_seed", kind: "integer", default: 0, help: "seed of that noise" },
  {
    key: "unit",
    short: "u",
    settingsKey: "unit",
    kind: "choice",
    choices: ["exp_num", "steps"],
    default: "exp_num",
    help: "horizontal unit of curves",
  },
  {
    key: "compat",
    settingsKey: "compat",
    kind: "flag",
    default: false,
    help: "reproduce the original's overwriting of transfers",
  },
];

/**
 * Fills in defaults and checks values.
 *
 * @throws ConfigError naming the option
 */
export function resolveMetricsOptions(options: MetricsOptions = {}): ResolvedMetricsOptions {
  checkOptions(
    "metrics",
    options,
    METRICS_OPTIONS.map((spec) => spec.key),
  );
  const resolved: Record<string, unknown> = {};
  for (const spec of METRICS_OPTIONS) {
    const value = options[spec.key] ?? spec.default;
    if (spec.choices !== undefined && !spec.choices.includes(value as string)) {
      throw new ConfigError("metrics", `${spec.key} is not one of its values`, {
        expected: spec.choices.join(", "),
        got: JSON.stringify(value),
      });
    }
    resolved[spec.key] = value;
  }
  const checked = resolved as unknown as ResolvedMetricsOptions;
  if (
    checked.windowLength !== null &&
    !(Number.isInteger(checked.windowLength) && checked.windowLength > 0)
  ) {
    throw new ConfigError("metrics", "windowLength is not a positive integer", {
      got: String(checked.windowLength),
    });
  }
  for (const [task, range] of Object.entries(checked.dataRange ?? {})) {
    if (typeof range?.min !== "number" || typeof range.max !== "number") {
      throw new ConfigError("metrics", `dataRange of "${task}" lacks min or max`, {
        expected: "{min: number, max: number}",
        got: JSON.stringify(range),
      });
    }
  }
  return checked;
}

/**
 * Options from a settings object in the original's key names (`settings.json`). Keys about files and plots that the
 * pipeline does not use are passed over; unknown ones are errors.
 */
export function metricsOptionsFromSettings(settings: Readonly<Record<string, unknown>>): MetricsOptions {
  const elsewhere = [
    "log_dir",
    "recursive",
    "ste_store_mode",
    "data_range_file",
    "output_dir",
    "output",
    "show_eval_lines",
    "do_plot",
    "plot_types",
    "do_save",
    "load_settings",
    "do_save_settings",
    "eval_dir",
    "agent_config_dir",
    "ste_dir",
    "do_unzip",
    "do_store_ste",
    "do_save_plots",
  ];
  checkOptions("metrics settings", settings, [
    ...METRICS_OPTIONS.map((spec) => spec.settingsKey),
    ...elsewhere,
  ]);
  const options: Record<string, unknown> = {};
  for (const spec of METRICS_OPTIONS) {
    const value = settings[spec.settingsKey];
    if (value !== undefined && value !== null) options[spec.key] = value;
  }
  return options as MetricsOptions;
}

/** The settings object of the original's `_settings.json` for resolved options. */
export function metricsSettings(options: ResolvedMetricsOptions): Record<string, unknown> {
  return Object.fromEntries(METRICS_OPTIONS.map((spec) => [spec.settingsKey, options[spec.key]]));
}
