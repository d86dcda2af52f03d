// Reading tensors out of checked safetensors files: from bytes at hand, or from a file that stays on disk.

import { ConfigError, DataError, nearest } from "@everlong/core";
import { openFile, type RandomAccessFile } from "../files/random-access-file.ts";
import { SAFETENSORS_DTYPES, type SafetensorsDType, type StoredArray } from "./dtype.ts";
import { parseHeader, readHeaderLength, type SafetensorsHeader, type TensorInfo } from "./header.ts";

/** One tensor with its elements, row-major. */
export interface StoredTensor {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly data: StoredArray;
}

/**
 * Tensors of a safetensors file held in memory. Nothing is copied until asked for: `get` returns a view of the
 * bytes where they are aligned for their type, a copy where they are not.
 *
 * @example
 * const file = parseSafetensors(bytes);
 * const { data, shape } = file.get("embedding.weight");
 */
export class SafetensorsBytes {
  readonly header: SafetensorsHeader;
  readonly #bytes: Uint8Array;
  readonly #op: string;

  constructor(bytes: Uint8Array, op = "safetensors") {
    this.#op = op;
    const length = readHeaderLength(op, bytes, bytes.byteLength);
    this.header = parseHeader(op, bytes.subarray(8, 8 + length), bytes.byteLength);
    this.#bytes = bytes;
  }

  /** Names in file order. */
  get names(): string[] {
    return [...this.header.tensors.keys()];
  }

  /** The tensor called `name`. @throws ConfigError when there is none */
  get(name: string): StoredTensor {
    const info = find(this.#op, this.header, name);
    return viewTensor(info, this.#bytes.subarray(info.begin, info.end));
  }

  /** All tensors by name, in file order. */
  all(): Map<string, StoredTensor> {
    return new Map(this.names.map((name) => [name, this.get(name)]));
  }
}

/**
 * Checks and opens safetensors bytes.
 *
 * @param op named in errors; pass the file's path where there is one
 * @throws DataError when the bytes are not a whole, well-formed safetensors file
 */
export function parseSafetensors(bytes: Uint8Array, op = "safetensors"): SafetensorsBytes {
  return new SafetensorsBytes(bytes, op);
}

/**
 * A safetensors file on disk. Opening reads the header only; each `read` fetches the bytes of one tensor, so a
 * file larger than memory can be used one tensor at a time. Close it, or declare it with `await using`.
 */
export class SafetensorsFile {
  readonly path: string;
  readonly header: SafetensorsHeader;
  readonly #file: RandomAccessFile;

  constructor(path: string, header: SafetensorsHeader, file: RandomAccessFile) {
    this.path = path;
    this.header = header;
    this.#file = file;
  }

  /** Names in file order. */
  get names(): string[] {
    return [...this.header.tensors.keys()];
  }

  /** Reads one tensor. @throws ConfigError for an unknown name, DataError when the file has shrunk */
  async read(name: string): Promise<StoredTensor> {
    const info = find(this.path, this.header, name);
    return viewTensor(info, await this.#file.read(info.begin, info.end - info.begin));
  }

  /**
   * Reads rows `[from, to)` along the first axis of one tensor, e.g. a slice of a large embedding.
   *
   * @throws ConfigError for an unknown name, a scalar, or rows outside the tensor
   */
  async readRows(name: string, from: number, to: number): Promise<StoredTensor> {
    const info = find(this.path, this.header, name);
    const rows = info.shape[0];
    if (rows === undefined || !(from >= 0 && from <= to && to <= rows)) {
      throw new ConfigError(this.path, `rows of tensor "${name}" out of range`, {
        expected: `0 <= from <= to <= ${rows ?? "(a scalar has no rows)"}`,
        got: `${from}, ${to}`,
      });
    }
    const rowBytes = rows === 0 ? 0 : (info.end - info.begin) / rows;
    const bytes = await this.#file.read(info.begin + from * rowBytes, (to - from) * rowBytes);
    return viewTensor({ ...info, shape: [to - from, ...info.shape.slice(1)] }, bytes);
  }

  /** Reads every tensor. */
  async readAll(): Promise<Map<string, StoredTensor>> {
    const tensors = new Map<string, StoredTensor>();
    for (const name of this.names) tensors.set(name, await this.read(name));
    return tensors;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Opens a safetensors file without reading its tensors (Node only).
 *
 * @throws DataError when the file is absent, truncated, foreign or malformed
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await openFile(path);
  try {
    const length = readHeaderLength(path, await file.read(0, Math.min(8, file.size)), file.size);
    const header = parseHeader(path, await file.read(8, length), file.size);
    return new SafetensorsFile(path, header, file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

function find(op: string, header: SafetensorsHeader, name: string): TensorInfo {
  const info = header.tensors.get(name);
  if (info) return info;
  const near = nearest(name, [...header.tensors.keys()]);
  throw new ConfigError(
    op,
    `no tensor "${name}" among ${header.tensors.size}`,
    near === undefined ? {} : { hint: `Did you mean "${near}"?` },
  );
}

function viewTensor(info: TensorInfo, bytes: Uint8Array): StoredTensor {
  const type = SAFETENSORS_DTYPES[info.dtype];
  // Not bytes.slice(): on a Node Buffer that is a view at the same odd offset.
  const aligned = bytes.byteOffset % type.bytes === 0 ? bytes : Uint8Array.from(bytes);
  const data = type.view(aligned.buffer, aligned.byteOffset, aligned.byteLength / type.bytes);
  if (info.dtype === "BOOL" && (data as Uint8Array).some((b) => b > 1)) {
    throw new DataError("safetensors", `tensor "${info.name}" holds bytes other than 0 and 1`, {
      expected: "BOOL",
    });
  }
  return { dtype: info.dtype, shape: info.shape, data };
}
