// Tables of runs from anywhere: CSV with a header or JSON rows, columns under the names that people use.

import { readFileSync } from "node:fs";
import { extname } from "node:path";
import { ConfigError, DataError, nearest } from "@everlong/core";
import Papa from "papaparse";

export type Row = Readonly<Record<string, unknown>>;

/** What a column may be called, beside its own name; case, spaces and underscores do not matter. */
const ALIASES: Readonly<Record<string, readonly string[]>> = {
  parameters: ["params", "n", "nparams", "modelsize", "size"],
  tokens: ["d", "traintokens", "ntokens", "data"],
  flops: ["c", "compute", "trainflops", "totalflops"],
  loss: ["l", "testloss", "evalloss", "finalloss", "valloss"],
  state: ["s", "statesize", "stateelements", "statebytes"],
  group: ["architecture", "model", "arch", "name"],
  score: ["mad", "madscore", "macro"],
};

const plain = (name: string): string => name.toLowerCase().replaceAll(/[\s_-]/g, "");

/** Reads rows. @throws DataError for files that hold none */
export function readTable(path: string): readonly Row[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new DataError("table", `cannot read ${path}`, { cause });
  }
  if (extname(path) === ".json") {
    let rows: unknown;
    try {
      rows = JSON.parse(text);
    } catch (cause) {
      throw new DataError("table", `${path} is not JSON`, { hint: (cause as Error).message, cause });
    }
    if (Array.isArray(rows) && rows.length > 0 && rows.every((r) => typeof r === "object" && r !== null))
      return rows as Row[];
    throw new DataError("table", `${path} holds no rows`, { expected: "a JSON list of objects" });
  }
  const { data, errors } = Papa.parse<Record<string, string>>(text, {
    header: true,
    skipEmptyLines: true,
  });
  const [first] = errors.filter((e) => e.type !== "Delimiter");
  if (first) throw new DataError("table", `${path} row ${(first.row ?? 0) + 1}: ${first.message}`);
  if (data.length === 0)
    throw new DataError("table", `${path} holds no rows`, { expected: "CSV with a header" });
  return data.map((row) =>
    Object.fromEntries(Object.entries(row).map(([name, cell]) => [name, typed(cell)])),
  );
}

/** A cell of a CSV table. The reader's own typing keeps numbers from 2^53 on as texts: compute is counted there. */
function typed(cell: string): string | number {
  const n = cell.trim() === "" ? Number.NaN : Number(cell);
  return Number.isFinite(n) ? n : cell;
}

/** The name of the column that holds `what`; undefined when there is none. */
export function findColumn(rows: readonly Row[], what: string): string | undefined {
  const names = Object.keys(rows[0]!);
  const exact = names.find((n) => plain(n) === plain(what));
  return exact ?? names.find((n) => (ALIASES[what] ?? []).includes(plain(n)));
}

/** Numbers of a column, one a row. @throws ConfigError without such a column, DataError for a cell that is no number */
export function numbersOf(rows: readonly Row[], what: string): number[] {
  const column = findColumn(rows, what);
  const names = Object.keys(rows[0]!);
  if (column === undefined) {
    const near = nearest(what, names);
    throw new ConfigError("table", `no column "${what}"`, {
      got: names.join(", "),
      ...(near ? { hint: `Did you mean "${near}"?` } : {}),
    });
  }
  return rows.map((row, i) => {
    const value = row[column];
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw new DataError("table", `row ${i + 1} has no number under "${column}"`, {
      got: JSON.stringify(value) ?? "nothing",
    });
  });
}
