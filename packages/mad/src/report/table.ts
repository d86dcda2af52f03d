// The result table in the terminal.

import type { RunRecord } from "../run-record.ts";

const COLUMNS = [
  "task",
  "architecture",
  "accuracy",
  "macro",
  "loss",
  "parameters",
  "state",
  "tokens/s",
] as const;

/** `12.3 KiB`. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** `12,345`. */
export const countText = (n: number): string =>
  Number.isFinite(n) ? Math.round(n).toLocaleString("en-US") : "-";

/** Share as three digits. */
export const shareText = (x: number): string => (Number.isFinite(x) ? x.toFixed(3) : "-");

function cells(r: RunRecord): string[] {
  return [
    r.task,
    r.architecture,
    shareText(r.tokenAccuracy),
    shareText(r.macroAccuracy),
    r.testLoss.toFixed(3),
    countText(r.parameters),
    bytesText(r.stateBytes),
    countText(r.tokensPerSecond),
  ];
}

/** Rows in the given order; text columns left, numbers right. */
export function resultTable(records: readonly RunRecord[]): string {
  const rows = [[...COLUMNS], ...records.map(cells)];
  const widths = COLUMNS.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  const line = (r: readonly string[]): string =>
    r.map((c, i) => (i < 2 ? c.padEnd(widths[i]!) : c.padStart(widths[i]!))).join("  ");
  const [head, ...body] = rows;
  return [line(head!), widths.map((w) => "-".repeat(w)).join("  "), ...body.map(line)].join("\n");
}

const BARS = "▁▂▃▄▅▆▇█";

/** Values in 0..1 as a row of bars. */
export const sparkline = (values: readonly number[]): string =>
  values.map((v) => BARS[Math.max(0, Math.min(7, Math.floor(v * 8)))]).join("");
