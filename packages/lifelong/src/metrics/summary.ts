import { type BootstrapOptions, bootstrap, type Interval } from "./bootstrap.ts";
import type { MetricsReport } from "./report.ts";

/** Metrics of several lifetimes of one agent. */
export interface GroupSummary {
  readonly name: string;
  readonly lifetimes: number;
  /** By metric key: mean over lifetimes with a bootstrap interval; NaN lifetimes are left out. */
  readonly values: Readonly<Record<string, Interval>>;
}

/** Mean and interval of every metric over a group of lifetimes. */
export function summarizeGroup(
  name: string,
  reports: readonly MetricsReport[],
  options: BootstrapOptions = {},
): GroupSummary {
  const keys = [...new Set(reports.flatMap((report) => Object.keys(report.values)))];
  return {
    name,
    lifetimes: reports.length,
    values: Object.fromEntries(
      keys.map((key) => [
        key,
        bootstrap(
          reports.map((report) => report.values[key] ?? Number.NaN),
          options,
        ),
      ]),
    ),
  };
}
