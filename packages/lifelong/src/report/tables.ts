import type { Interval } from "../metrics/bootstrap.ts";
import { metricInfo } from "../metrics/registry.ts";
import type { MetricsReport } from "../metrics/report.ts";
import type { GroupSummary } from "../metrics/summary.ts";

/** A table of text with columns aligned: numbers to the right. */
export function textTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((cell, c) => Math.max(cell.length, ...rows.map((row) => (row[c] ?? "").length)));
  const right = header.map(
    (_, c) => rows.length > 0 && rows.every((row) => /^$|^[-+\d.∞–—]|^n\/a/.test(row[c] ?? "")),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, c) => (right[c] ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
      .join("  ")
      .trimEnd();
  return [line(header), line(widths.map((w) => "─".repeat(w))), ...rows.map(line)].join("\n");
}

/** A number in four significant digits, `n/a` where it is undefined. */
export function shortNumber(value: number): string {
  if (!Number.isFinite(value)) return "n/a";
  if (value === 0) return "0";
  const digits = Math.max(0, Math.min(6, 3 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toFixed(digits);
}

/** `value [low, high]`, in three digits of the interval's width; the value alone where there is no interval. */
export function shortInterval({ value, low, high }: Interval): string {
  if (!Number.isFinite(low)) return shortNumber(value);
  if (!(high > low)) return `${shortNumber(value)} [${shortNumber(low)}, ${shortNumber(high)}]`;
  // what lies below a hundredth of the interval says nothing
  const digits = Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(high - low))));
  return `${value.toFixed(digits)} [${low.toFixed(digits)}, ${high.toFixed(digits)}]`;
}

/** Whether a value shows lifelong learning; empty where no threshold is defined. */
export function verdict(key: string, value: number): string {
  const threshold = metricInfo(key)?.success ?? null;
  if (threshold === null || Number.isNaN(value)) return "";
  // transfer must exceed "no effect"; maintenance, relative performance and efficiency may equal it
  return (key.includes("transfer") ? value > threshold : value >= threshold) ? "yes" : "no";
}

/** Lifetime metrics of one report, one line a metric. */
export function metricsTable(report: MetricsReport): string {
  const rows = Object.entries(report.values).map(([key, value]) => [
    key,
    metricInfo(key)?.title ?? key,
    shortNumber(value),
    verdict(key, value),
  ]);
  return textTable(["metric", "", "value", "shown"], rows);
}

/** Task metrics of one report, one line a task. */
export function taskTable(report: MetricsReport): string {
  const keys = Object.keys(report.values).filter((key) => report.tasks.some((t) => key in t.values));
  const rows = report.tasks.map((t) => [
    t.task,
    String(t.numLx),
    String(t.numEx),
    ...keys.map((key) => shortNumber(t.values[key] ?? Number.NaN)),
  ]);
  return textTable(["task", "LX", "EX", ...keys], rows);
}

/** Metrics of several groups of lifetimes with their intervals, one line a metric. */
export function groupTable(groups: readonly GroupSummary[]): string {
  const keys = [...new Set(groups.flatMap((group) => Object.keys(group.values)))];
  const rows = keys.map((key) => [
    key,
    ...groups.map((group) => {
      const interval = group.values[key];
      return interval === undefined ? "n/a" : shortInterval(interval);
    }),
  ]);
  return textTable(["metric", ...groups.map((group) => `${group.name} (${group.lifetimes})`)], rows);
}
