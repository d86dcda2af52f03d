// Writing safetensors. The same tensors give the same bytes whatever order they come in.

import { DataError } from "@everlong/core";
import { SAFETENSORS_DTYPES, type SafetensorsDType, type StoredArray } from "./dtype.ts";
import type { StoredTensor } from "./reader.ts";

/** What may be written: named tensors, as a map or a plain object. */
export type NamedTensors = ReadonlyMap<string, StoredTensor> | Readonly<Record<string, StoredTensor>>;

/** Options of the writers. */
export interface WriteOptions {
  /** Strings stored under `__metadata__`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * Writes tensors as safetensors bytes. Wide types come first and names are sorted within a type, as the format's
 * own library does; the header is padded with spaces to eight bytes, so every tensor is aligned.
 *
 * @throws DataError when a tensor's data does not have the length or the typed array of its dtype and shape
 */
export function writeSafetensors(tensors: NamedTensors, options: WriteOptions = {}): Uint8Array<ArrayBuffer> {
  const { head, ordered } = layOut(tensors, options);
  const total = ordered.reduce((n, [, tensor]) => n + tensor.data.byteLength, head.byteLength);
  const out = new Uint8Array(total);
  out.set(head);
  let at = head.byteLength;
  for (const [, tensor] of ordered) {
    out.set(bytesOf(tensor.data), at);
    at += tensor.data.byteLength;
  }
  return out;
}

/**
 * Writes tensors to a file (Node only). The file appears under its name only when it is complete: it is written
 * beside it, flushed, and renamed.
 *
 * @throws DataError as {@link writeSafetensors}, or when the file cannot be written
 */
export async function saveSafetensors(
  path: string,
  tensors: NamedTensors,
  options: WriteOptions = {},
): Promise<void> {
  const { head, ordered } = layOut(tensors, options);
  const { open, rename, rm } = await import("node:fs/promises");
  const partial = `${path}.${process.pid}.partial`;
  try {
    const handle = await open(partial, "w");
    try {
      await handle.writeFile(head);
      for (const [, tensor] of ordered) await handle.writeFile(bytesOf(tensor.data));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true });
    throw new DataError(path, "cannot write file", { got: (cause as Error).message, cause });
  }
}

interface Layout {
  readonly head: Uint8Array;
  readonly ordered: readonly (readonly [string, StoredTensor])[];
}

function layOut(tensors: NamedTensors, options: WriteOptions): Layout {
  const entries = isMap(tensors) ? [...tensors] : Object.entries(tensors);
  const ordered = entries.sort(
    ([nameA, a], [nameB, b]) =>
      SAFETENSORS_DTYPES[a.dtype].order - SAFETENSORS_DTYPES[b.dtype].order || compare(nameA, nameB),
  );
  const fields: string[] = [];
  const metadata = Object.entries(options.metadata ?? {}).sort(([a], [b]) => compare(a, b));
  if (metadata.length > 0) fields.push(`"__metadata__":${JSON.stringify(Object.fromEntries(metadata))}`);
  let at = 0;
  for (const [name, tensor] of ordered) {
    checkTensor(name, tensor);
    const end = at + tensor.data.byteLength;
    // written by hand: an object would move names that look like numbers to the front
    const { dtype, shape } = tensor;
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, end] })}`);
    at = end;
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const length = Math.ceil(json.byteLength / 8) * 8;
  const head = new Uint8Array(8 + length).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true);
  head.set(json, 8);
  return { head, ordered };
}

function checkTensor(name: string, { dtype, shape, data }: StoredTensor): void {
  const op = "safetensors";
  if (name === "__metadata__") {
    throw new DataError(op, `"${name}" cannot name a tensor`, { hint: "Pass it as the option metadata." });
  }
  const count = shape.reduce((n, size) => n * size, 1);
  const wanted = arrayName(dtype);
  if (data.constructor.name !== wanted) {
    throw new DataError(op, `tensor "${name}" has the wrong storage for ${dtype}`, {
      expected: wanted,
      got: data.constructor.name,
    });
  }
  if (data.length !== count) {
    throw new DataError(op, `tensor "${name}" has a size that disagrees with its shape`, {
      expected: `${count} elements for [${shape.join(", ")}]`,
      got: `${data.length}`,
    });
  }
}

const empty = new ArrayBuffer(0);
const arrayName = (dtype: SafetensorsDType): string =>
  SAFETENSORS_DTYPES[dtype].view(empty, 0, 0).constructor.name;

const isMap = (tensors: NamedTensors): tensors is ReadonlyMap<string, StoredTensor> => tensors instanceof Map;

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const bytesOf = (data: StoredArray): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
