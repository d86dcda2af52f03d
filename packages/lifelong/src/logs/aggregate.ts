import type { LifetimeLog } from "./reader.ts";
import { filterRows, findRegimes, type LogTable } from "./table.ts";
import { encodeCell } from "./tsv.ts";

export type AggregateFormat = "tsv" | "csv" | "json";

/** One text table of every complete experience of a log folder, with its regime number as second column. */
export function aggregateLog(log: LifetimeLog, format: AggregateFormat = "tsv"): string {
  const table = filterRows(log.table, (row) => log.table.complete[row] === 1);
  const columns = namedColumns(table);
  if (format === "json") {
    return `${JSON.stringify(Object.fromEntries(columns.map(([name, at]) => [name, list(table.rows, at)])))}\n`;
  }
  const separator = format === "csv" ? "," : "\t";
  const quote = format === "csv" ? encodeCsvCell : encodeCell;
  const lines = [columns.map(([name]) => quote(name)).join(separator)];
  for (let row = 0; row < table.rows; row++) {
    lines.push(columns.map(([, at]) => quote(cellText(at(row)))).join(separator));
  }
  return `${lines.join("\n")}\n`;
}

type Cell = string | number;

function namedColumns(table: LogTable): [string, (row: number) => Cell][] {
  const regime = new Int32Array(table.rows);
  for (const { index, start, end } of findRegimes(table)) regime.fill(index, start, end);
  return [
    ["block_num", (r) => table.blockNum[r]!],
    ["regime_num", (r) => regime[r]!],
    ["exp_num", (r) => table.expNum[r]!],
    ["worker_id", (r) => table.workers[table.worker[r]!]!],
    ["block_type", (r) => (table.test[r] === 1 ? "test" : "train")],
    ["block_subtype", (r) => (table.sleep[r] === 1 ? "sleep" : "wake")],
    ["task_name", (r) => table.tasks[table.task[r]!]!],
    ["task_params", (r) => table.params[table.param[r]!]!],
    ["exp_status", (r) => (table.complete[r] === 1 ? "complete" : "incomplete")],
    ["timestamp", (r) => table.timestamp[r]!],
    ...[...table.texts].map(([name, cells]): [string, (r: number) => Cell] => [name, (r) => cells[r]!]),
    ...[...table.numbers].map(([name, values]): [string, (r: number) => Cell] => [name, (r) => values[r]!]),
  ];
}

function cellText(value: Cell): string {
  return typeof value === "string" ? value : Number.isNaN(value) ? "" : String(value);
}

function list(rows: number, at: (row: number) => Cell): (Cell | null)[] {
  return Array.from({ length: rows }, (_, r) => {
    const value = at(r);
    return typeof value === "number" && !Number.isFinite(value) ? null : value;
  });
}

function encodeCsvCell(text: string): string {
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
