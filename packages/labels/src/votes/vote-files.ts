import { writeFile } from "node:fs/promises";
import { extname } from "node:path";
import { DataError, ShapeError } from "@everlong/core";
import { parseNpy, writeNpy } from "@everlong/data";
import { readInput } from "../records.ts";
import { parquetReadObjects } from "hyparquet";
import { parquetWriteBuffer } from "hyparquet-writer";
import Papa from "papaparse";
import { ABSTAIN, Votes } from "./votes.ts";

/** How votes are written in a file: classes from 0 with -1 for an abstention, or -1 / 0 (abstain) / +1. */
export type VoteNotation = "classes" | "signed";

/** Options of {@link readVotes}. */
export interface ReadVotesOptions {
  /** K; default the largest vote + 1, at least 2. */
  readonly classes?: number;
  /** Default `classes`. */
  readonly notation?: VoteNotation;
}

/** Votes from bytes; the format follows the extension. */
type VoteReader = (bytes: Uint8Array<ArrayBuffer>, file: string, options: ReadVotesOptions) => Promise<Votes>;

const readers: Record<string, VoteReader> = {
  ".npy": async (bytes, file, options) => votesFromNpy(bytes, options, file),
  ".csv": async (bytes, file, options) => votesFromCsv(new TextDecoder().decode(bytes), options, file),
  ".parquet": async (bytes, file, options) => votesFromParquet(bytes, options, file),
  ".json": async (bytes, file, options) => readWrench(new TextDecoder().decode(bytes), options, file).votes,
};

/** Reads votes from `.npy`, `.csv`, `.parquet` or WRENCH's `.json`. @throws DataError naming the file, row and column. */
export async function readVotes(file: string, options: ReadVotesOptions = {}): Promise<Votes> {
  const read = readers[extname(file).toLowerCase()];
  if (!read) throw unknownExtension(file, Object.keys(readers));
  return read(await readInput(file), file, options);
}

/** Writes votes as `.npy` (int8, or int16 for many classes), `.csv` or `.parquet`, one column per function. */
export async function writeVotes(
  file: string,
  votes: Votes,
  notation: VoteNotation = "classes",
): Promise<void> {
  const extension = extname(file).toLowerCase();
  if (extension === ".npy") await writeFile(file, votesToNpy(votes, notation));
  else if (extension === ".csv") await writeFile(file, votesToCsv(votes, notation));
  else if (extension === ".parquet") await writeFile(file, votesToParquet(votes, notation));
  else throw unknownExtension(file, [".npy", ".csv", ".parquet"]);
}

/** `[N, M]` integers. */
export function votesFromNpy(bytes: Uint8Array, options: ReadVotesOptions = {}, file = "votes"): Votes {
  const { shape, data } = parseNpy(bytes, file);
  if (shape.length !== 2)
    throw new ShapeError(file, "votes must be a matrix", {
      expected: "[items, functions]",
      got: `[${shape.join(", ")}]`,
    });
  return make(
    Array.from(data as ArrayLike<number | bigint>, Number),
    [shape[0]!, shape[1]!],
    undefined,
    options,
  );
}

/** The bytes of an `.npy` file. */
export function votesToNpy(votes: Votes, notation: VoteNotation = "classes"): Uint8Array<ArrayBuffer> {
  const shape = [votes.items, votes.functions];
  if (notation === "signed") return writeNpy({ dtype: "i1", shape, data: votes.toSigned() });
  return votes.classes > 128
    ? writeNpy({ dtype: "i2", shape, data: votes.data })
    : writeNpy({ dtype: "i1", shape, data: Int8Array.from(votes.data) });
}

/** CSV with a header of function names. An empty cell is an abstention. */
export function votesFromCsv(text: string, options: ReadVotesOptions = {}, file = "votes"): Votes {
  const { data, errors } = Papa.parse<string[]>(text.trim(), { skipEmptyLines: true, delimiter: "," });
  const [head, ...body] = data;
  if (errors.length > 0 || !head)
    throw new DataError(file, "this is no CSV of votes", {
      got: errors[0] ? `${errors[0].message} in row ${errors[0].row}` : "an empty file",
    });
  const abstain = options.notation === "signed" ? 0 : ABSTAIN;
  const flat = body.flatMap((row, i) => {
    if (row.length !== head.length)
      throw new ShapeError(file, `row ${i + 1} is not as wide as the header`, {
        expected: `${head.length} cells`,
        got: `${row.length}`,
      });
    return row.map((cell, j) => {
      const value = cell.trim() === "" ? abstain : Number(cell);
      if (!Number.isInteger(value))
        throw new DataError(file, `row ${i + 1}, column "${head[j]}" is no vote`, {
          expected: "an integer",
          got: `"${cell}"`,
        });
      return value;
    });
  });
  return make(flat, [body.length, head.length], head, options);
}

/** The text of a CSV file. */
export function votesToCsv(votes: Votes, notation: VoteNotation = "classes"): string {
  const data = notation === "signed" ? votes.toSigned() : votes.data;
  const m = votes.functions;
  const rows = Array.from({ length: votes.items }, (_, i) => [...data.subarray(i * m, (i + 1) * m)]);
  return `${Papa.unparse([[...votes.names], ...rows], { newline: "\n" })}\n`;
}

/** One integer column per function. */
export async function votesFromParquet(
  bytes: Uint8Array<ArrayBuffer>,
  options: ReadVotesOptions = {},
  file = "votes",
): Promise<Votes> {
  let rows: Record<string, unknown>[];
  try {
    rows = await parquetReadObjects({ file: bytes.buffer });
  } catch (problem) {
    throw new DataError(file, "cannot read this Parquet file", {
      cause: problem,
      got: problem instanceof Error ? problem.message : String(problem),
    });
  }
  const names = Object.keys(rows[0] ?? {});
  const abstain = options.notation === "signed" ? 0 : ABSTAIN;
  const flat = rows.flatMap((row, i) =>
    names.map((name) => {
      const value = row[name] === null || row[name] === undefined ? abstain : Number(row[name]);
      if (!Number.isInteger(value))
        throw new DataError(file, `row ${i}, column "${name}" is no vote`, {
          expected: "an integer",
          got: String(row[name]),
        });
      return value;
    }),
  );
  return make(flat, [rows.length, names.length], names, options);
}

/** The bytes of a Parquet file. */
export function votesToParquet(votes: Votes, notation: VoteNotation = "classes"): Uint8Array {
  const data = notation === "signed" ? votes.toSigned() : votes.data;
  const m = votes.functions;
  const buffer = parquetWriteBuffer({
    columnData: votes.names.map((name, j) => ({
      name,
      data: Int32Array.from({ length: votes.items }, (_, i) => data[i * m + j]!),
      type: "INT32",
    })),
  });
  return new Uint8Array(buffer);
}

/** One split in WRENCH's layout: votes, labels where known (-1 otherwise), and the records. */
export interface WrenchSplit {
  readonly ids: readonly string[];
  readonly votes: Votes;
  readonly labels: Int16Array;
  readonly records: readonly unknown[];
}

/** Parses WRENCH's `{id: {label, weak_labels, data}}`. */
export function readWrench(text: string, options: ReadVotesOptions = {}, file = "wrench"): WrenchSplit {
  let parsed: Record<string, { label?: number; weak_labels?: number[]; data?: unknown }>;
  try {
    parsed = JSON.parse(text) as typeof parsed;
  } catch (problem) {
    throw new DataError(file, "this is no JSON", { cause: problem });
  }
  const ids = Object.keys(parsed);
  const width = parsed[ids[0] ?? ""]?.weak_labels?.length ?? 0;
  const flat: number[] = [];
  const labels = new Int16Array(ids.length).fill(-1);
  for (const [i, id] of ids.entries()) {
    const { weak_labels: weak, label } = parsed[id]!;
    if (!Array.isArray(weak) || weak.length !== width)
      throw new DataError(file, `item "${id}" has no usable weak_labels`, {
        expected: `${width} votes`,
        got: Array.isArray(weak) ? `${weak.length}` : typeof weak,
      });
    flat.push(...weak);
    if (label !== undefined && label !== null) labels[i] = label;
  }
  const most = Math.max(-1, ...labels);
  return {
    ids,
    votes: make(flat, [ids.length, width], undefined, {
      classes: Math.max(2, most + 1, ...flat.map((v) => v + 1)),
      ...options,
    }),
    labels,
    records: ids.map((id) => parsed[id]!.data),
  };
}

/** The text of a WRENCH split; labels of -1 are kept as -1. */
export function writeWrench(split: WrenchSplit): string {
  const { votes } = split;
  const entries = split.ids.map((id, i) => [
    id,
    {
      label: split.labels[i],
      weak_labels: [...votes.data.subarray(i * votes.functions, (i + 1) * votes.functions)],
      data: split.records[i] ?? {},
    },
  ]);
  return JSON.stringify(Object.fromEntries(entries));
}

function make(
  flat: readonly number[],
  shape: readonly [number, number],
  names: readonly string[] | undefined,
  options: ReadVotesOptions,
): Votes {
  if (options.notation === "signed") return Votes.fromSigned(flat, shape, names);
  let most = 1;
  for (const vote of flat) if (vote > most) most = vote;
  return new Votes(flat, shape, { classes: options.classes ?? most + 1, ...(names ? { names } : {}) });
}

function unknownExtension(file: string, known: readonly string[]): DataError {
  return new DataError(file, "unknown kind of file", {
    expected: `one of ${known.join(", ")}`,
    got: extname(file) || "no extension",
  });
}
