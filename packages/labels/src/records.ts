import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { DataError } from "@everlong/core";
import { parseNpy } from "@everlong/data";
import { parquetReadObjects } from "hyparquet";
import Papa from "papaparse";

/** The bytes of a file. @throws DataError when it cannot be read. */
export async function readInput(file: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await readFile(file));
  } catch (problem) {
    throw new DataError(file, "cannot read the file", {
      got: problem instanceof Error ? problem.message : String(problem),
      cause: problem,
    });
  }
}

/** Records from `.jsonl`, `.json` (an array), `.csv` (with a header) or `.parquet`. @throws DataError naming file and line. */
export async function readRecords(file: string): Promise<Record<string, unknown>[]> {
  const extension = extname(file).toLowerCase();
  const bytes = await readInput(file);
  if (extension === ".parquet")
    return parquetReadObjects({ file: bytes.buffer }) as Promise<Record<string, unknown>[]>;
  const text = new TextDecoder().decode(bytes);
  if (extension === ".csv")
    return Papa.parse<Record<string, unknown>>(text.trim(), { header: true, skipEmptyLines: true }).data;
  if (extension === ".jsonl" || extension === ".ndjson")
    return text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line, i) => parseJson(line, `${file}, line ${i + 1}`) as Record<string, unknown>);
  if (extension === ".json") {
    const parsed = parseJson(text, file);
    if (!Array.isArray(parsed))
      throw new DataError(file, "records must be a list", { expected: "a JSON array", got: typeof parsed });
    return parsed as Record<string, unknown>[];
  }
  throw new DataError(file, "unknown kind of file", {
    expected: "one of .jsonl, .json, .csv, .parquet",
    got: extension || "no extension",
  });
}

/** One text per record. @throws DataError at the first record whose `field` is no text. */
export function textsOf(
  records: readonly Record<string, unknown>[],
  field: string,
  file = "records",
): string[] {
  return records.map((record, i) => {
    const value = record[field];
    if (typeof value !== "string")
      throw new DataError(file, `record ${i} has no text in "${field}"`, {
        expected: "a string",
        got: value === undefined ? `only ${Object.keys(record).join(", ")}` : typeof value,
      });
    return value;
  });
}

/** Class labels 0..K-1 from `.npy` (`[N]`), or from the field of records. Signed labels -1 / +1 become 0 / 1. */
export async function readLabels(file: string, field = "label"): Promise<Int16Array> {
  const raw =
    extname(file).toLowerCase() === ".npy"
      ? Array.from(parseNpy(await readInput(file), file).data as ArrayLike<number>, Number)
      : (await readRecords(file)).map((record) => Number(record[field]));
  const signed = raw.some((y) => y === -1) && raw.every((y) => y === -1 || y === 1);
  return Int16Array.from(raw, (y, i) => {
    const label = signed ? (y + 1) / 2 : y;
    if (!Number.isInteger(label) || label < 0)
      throw new DataError(file, `item ${i} has no usable label`, {
        expected: "a class 0..K-1, or -1 / +1 throughout",
        got: `${y}`,
      });
    return label;
  });
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (problem) {
    throw new DataError(where, "this is no JSON", {
      got: problem instanceof Error ? problem.message : String(problem),
      cause: problem,
    });
  }
}
