// The header of a safetensors file: eight bytes of length, then JSON that places every tensor. Every rule of
// the format is checked here, once, so that whoever reads tensors afterwards can trust each offset.
// Format: https://huggingface.co/docs/safetensors

import { DataError } from "@everlong/core";
import { isSafetensorsDType, SAFETENSORS_DTYPES, type SafetensorsDType } from "./dtype.ts";
import { duplicateKey } from "./duplicate-key.ts";

/** Where one tensor lies. `begin` and `end` count bytes from the start of the file. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** A checked header. */
export interface SafetensorsHeader {
  /** Tensors in file order (by offset). */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The file's `__metadata__`, empty when it has none. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Longest header the format allows, in bytes. */
const MAX_HEADER_BYTES = 100_000_000;

const hintForeign = "Is this a safetensors file, and was it downloaded completely?";

/**
 * Reads the length of the JSON from the first eight bytes.
 *
 * @param op where errors say they come from (a path or an operation)
 * @throws DataError when the file is too short, or the length cannot belong to a safetensors file
 */
export function readHeaderLength(op: string, first: Uint8Array, fileBytes: number): number {
  if (fileBytes < 8) {
    throw new DataError(op, "safetensors header is cut off", {
      expected: "at least 8 bytes",
      got: `${fileBytes}`,
      hint: hintForeign,
    });
  }
  const view = new DataView(first.buffer, first.byteOffset, 8);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length > MAX_HEADER_BYTES) {
    throw new DataError(op, "safetensors header length is implausible", {
      expected: `at most ${MAX_HEADER_BYTES} bytes`,
      got: `${length}`,
      hint: hintForeign,
    });
  }
  if (8 + length > fileBytes) {
    throw new DataError(op, "safetensors header is cut off", {
      expected: `${8 + length} bytes`,
      got: `${fileBytes}`,
      hint: hintForeign,
    });
  }
  return length;
}

/**
 * Checks the JSON of a header against the format and the size of its file.
 *
 * @param json the header's bytes, without the eight bytes of length
 * @param fileBytes size of the whole file
 * @throws DataError naming the tensor for: invalid JSON, duplicate names, unknown dtypes, bad shapes, offsets
 *   that overlap, leave holes or pass the end, sizes that disagree with dtype and shape, bytes after the last tensor
 */
export function parseHeader(op: string, json: Uint8Array, fileBytes: number): SafetensorsHeader {
  const fields = parseJson(op, json);
  const metadata = readMetadata(op, fields["__metadata__"]);
  const dataStart = 8 + json.byteLength;
  const infos: TensorInfo[] = [];
  for (const [name, entry] of Object.entries(fields)) {
    if (name !== "__metadata__") infos.push(readInfo(op, name, entry, dataStart));
  }
  infos.sort((a, b) => a.begin - b.begin || a.end - b.end);

  let at = dataStart;
  for (const info of infos) {
    if (info.end > fileBytes) {
      throw new DataError(op, `tensor "${info.name}" passes the end of the file`, {
        expected: `at most ${fileBytes - dataStart} bytes of data`,
        got: `${info.end - dataStart}`,
        hint: hintForeign,
      });
    }
    if (info.begin !== at) {
      const fault = info.begin < at ? "overlaps the tensor before it" : "leaves unused bytes before it";
      throw new DataError(op, `tensor "${info.name}" ${fault}`, {
        expected: `offset ${at - dataStart}`,
        got: `${info.begin - dataStart}`,
      });
    }
    at = info.end;
  }
  if (at !== fileBytes) {
    throw new DataError(op, "bytes after the last tensor", {
      expected: `a file of ${at} bytes`,
      got: `${fileBytes}`,
      hint: hintForeign,
    });
  }
  return { tensors: new Map(infos.map((info) => [info.name, info])), metadata };
}

function parseJson(op: string, json: Uint8Array): Record<string, unknown> {
  let value: unknown;
  let text = "";
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError(op, "safetensors header is not valid JSON", { hint: hintForeign, cause });
  }
  if (!text.startsWith("{") || !isRecord(value)) {
    throw new DataError(op, "safetensors header is not a JSON object", { hint: hintForeign });
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) throw new DataError(op, `tensor "${twice}" is listed twice`);
  return value;
}

function readMetadata(op: string, value: unknown): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  if (!isRecord(value)) throw new DataError(op, "__metadata__ is not an object");
  const metadata: Record<string, string> = {};
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw new DataError(op, `__metadata__ "${key}" is not a string`, { got: typeof text });
    }
    metadata[key] = text;
  }
  return metadata;
}

function readInfo(op: string, name: string, entry: unknown, dataStart: number): TensorInfo {
  if (!isRecord(entry)) throw new DataError(op, `tensor "${name}" is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isSafetensorsDType(dtype)) {
    throw new DataError(op, `tensor "${name}" has an unknown dtype`, {
      expected: Object.keys(SAFETENSORS_DTYPES).join(", "),
      got: JSON.stringify(dtype) ?? "none",
    });
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    throw new DataError(op, `tensor "${name}" has a malformed shape`, {
      expected: "an array of non-negative integers",
      got: JSON.stringify(shape) ?? "none",
    });
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[1] < offsets[0]) {
    throw new DataError(op, `tensor "${name}" has malformed data_offsets`, {
      expected: "[begin, end] with begin <= end",
      got: JSON.stringify(offsets) ?? "none",
    });
  }
  const bytes = shape.reduce((n: number, size: number) => n * size, SAFETENSORS_DTYPES[dtype].bytes);
  if (!Number.isSafeInteger(bytes) || offsets[1] - offsets[0] !== bytes) {
    throw new DataError(op, `tensor "${name}" has a size that disagrees with its shape`, {
      expected: `${bytes} bytes for ${dtype} [${shape.join(", ")}]`,
      got: `${offsets[1] - offsets[0]}`,
    });
  }
  return { name, dtype, shape, begin: dataStart + offsets[0], end: dataStart + offsets[1] };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
