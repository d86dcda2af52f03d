import { writeFile } from "node:fs/promises";
import { extname } from "node:path";
import { DataError, ShapeError } from "@everlong/core";
import { openSafetensors, parseNpy, toFloat32, writeNpy } from "@everlong/data";
import { parquetReadObjects } from "hyparquet";
import { readInput } from "../records.ts";
import type { Embeddings } from "./embeddings.ts";
import { embeddings, requireFinite } from "./embeddings.ts";

/**
 * Reads embeddings from `.npy`, `.safetensors` (the tensor `name`, or the only one) or `.parquet` (a column of number lists called `name`, or the
 * only such column, or one numeric column per dimension). @throws DataError or ShapeError naming the file.
 */
export async function readEmbeddings(file: string, name?: string): Promise<Embeddings> {
  const extension = extname(file).toLowerCase();
  let found: Embeddings;
  if (extension === ".npy") found = fromNpy(await readInput(file), file);
  else if (extension === ".safetensors") found = await fromSafetensors(file, name);
  else if (extension === ".parquet") found = await fromParquet(file, name);
  else
    throw new DataError(file, "unknown kind of file", {
      expected: "one of .npy, .safetensors, .parquet",
      got: extension || "no extension",
    });
  requireFinite(found, file);
  return found;
}

/** Writes embeddings as a float32 `.npy` file. */
export async function writeEmbeddings(file: string, of: Embeddings): Promise<void> {
  await writeFile(file, writeNpy({ dtype: "f4", shape: [of.items, of.size], data: of.data }));
}

function fromNpy(bytes: Uint8Array, file: string): Embeddings {
  const { shape, data } = parseNpy(bytes, file);
  return matrix(file, shape, Float32Array.from(data as ArrayLike<number>, Number));
}

async function fromSafetensors(file: string, name: string | undefined): Promise<Embeddings> {
  const opened = await openSafetensors(file);
  try {
    const only = name ?? (opened.names.length === 1 ? opened.names[0] : undefined);
    if (only === undefined)
      throw new DataError(file, "several tensors in one file", {
        expected: "the name of one of them",
        got: opened.names.slice(0, 8).join(", "),
      });
    const stored = await opened.read(only);
    return matrix(file, stored.shape, toFloat32(stored));
  } finally {
    await opened.close();
  }
}

async function fromParquet(file: string, name: string | undefined): Promise<Embeddings> {
  const bytes = await readInput(file);
  const rows = await parquetReadObjects({ file: bytes.buffer });
  const first = rows[0];
  if (!first) throw new DataError(file, "the table is empty");
  const isList = (value: unknown): value is ArrayLike<number> =>
    Array.isArray(value) || ArrayBuffer.isView(value);
  const lists = Object.keys(first).filter((key) => isList(first[key]));
  const column = name ?? (lists.length === 1 ? lists[0] : undefined);
  const columns = Object.keys(first).filter((key) => typeof first[key] === "number");
  const flat: number[] = [];
  let size = columns.length;
  for (const [i, row] of rows.entries()) {
    const value = column === undefined ? columns.map((key) => Number(row[key])) : row[column];
    if (!isList(value))
      throw new DataError(file, `row ${i} has no list of numbers in column "${column}"`, {
        got: typeof value,
      });
    if (i === 0) size = value.length;
    if (value.length !== size)
      throw new ShapeError(file, `row ${i} has another length`, {
        expected: `${size}`,
        got: `${value.length}`,
      });
    for (let k = 0; k < size; k++) flat.push(value[k]!);
  }
  return embeddings(flat, [rows.length, size]);
}

function matrix(file: string, shape: readonly number[], data: Float32Array): Embeddings {
  if (shape.length !== 2)
    throw new ShapeError(file, "embeddings must be a matrix", {
      expected: "[items, size]",
      got: `[${shape.join(", ")}]`,
    });
  return embeddings(data, [shape[0]!, shape[1]!]);
}
