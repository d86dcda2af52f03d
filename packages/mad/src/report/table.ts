// The result table in the terminal.

import type { RunRecord } from "../run-record.ts";

const COLUMNS = ["accuracy", "macro", "loss", "parameters", "state", "tokens/s"] as const;

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
    shareText(r.tokenAccuracy),
    shareText(r.macroAccuracy),
    r.testLoss.toFixed(3),
    countText(r.parameters),
    bytesText(r.stateBytes),
    countText(r.tokensPerSecond),
  ];
}

/** Rows in the given order under the names of their tasks: narrow enough for 80 columns. */
export function resultTable(records: readonly RunRecord[]): string {
  const names = records.map((r) => `  ${r.architecture}`);
  const rows = records.map(cells);
  const first = Math.max(...names.map((n) => n.length));
  const widths = COLUMNS.map((c, i) => Math.max(c.length, ...rows.map((r) => r[i]!.length)));
  const line = (name: string, r: readonly string[]): string =>
    [name.padEnd(first), ...r.map((c, i) => c.padStart(widths[i]!))].join("  ");
  const tasks = [...new Set(records.map((r) => r.task))];
  const blocks = tasks.map((task) =>
    [task, ...rows.flatMap((row, i) => (records[i]!.task === task ? [line(names[i]!, row)] : []))].join("\n"),
  );
  return [line("", COLUMNS), ...blocks].join("\n");
}

const BARS = "▁▂▃▄▅▆▇█";

/** Values in 0..1 as a row of bars. */
export const sparkline = (values: readonly number[]): string =>
  values.map((v) => BARS[Math.max(0, Math.min(7, Math.floor(v * 8)))]).join("");
