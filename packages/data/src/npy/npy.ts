// numpy's .npy format, versions 1 to 3. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

import { DataError } from "@everlong/core";
import { NPY_DTYPES, type NpyData, type NpyDType, parseDescr } from "./dtype.ts";
import { parsePythonLiteral } from "./python-literal.ts";

/** An array as .npy files hold it. */
export interface NpyArray {
  readonly dtype: NpyDType;
  readonly shape: readonly number[];
  /** Elements in row-major order and this machine's byte order. */
  readonly data: NpyData;
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

/**
 * Reads an .npy file. Column-major arrays are brought into row-major order, swapped bytes into this machine's.
 *
 * @param op named in errors; pass the file's path where there is one
 * @throws DataError for foreign, truncated or overlong files, pickled objects and other unsupported types
 */
export function parseNpy(bytes: Uint8Array, op = "npy"): NpyArray {
  const { text, dataStart } = readHead(op, bytes);
  const header = readFields(op, text);
  const { dtype, swapped } = parseDescr(op, header.descr);
  const { shape } = header;
  const type = NPY_DTYPES[dtype];
  const elementBytes = type.bytes * type.parts;
  const count = shape.reduce((n, size) => n * size, 1);
  const wanted = dataStart + count * elementBytes;
  if (bytes.byteLength !== wanted) {
    const what = bytes.byteLength < wanted ? "file is cut off" : "bytes after the array";
    throw new DataError(op, what, {
      expected: `${wanted} bytes for ${dtype} [${shape.join(", ")}]`,
      got: `${bytes.byteLength}`,
    });
  }
  // a copy of its own: the elements may not be aligned where they are, and are about to be moved
  const elements = new Uint8Array(bytes.subarray(dataStart));
  if (swapped) swapBytes(elements, type.bytes);
  const ordered =
    header.fortranOrder && shape.length > 1 ? transpose(elements, shape, elementBytes) : elements;
  return { dtype, shape, data: type.view(ordered.buffer) };
}

/**
 * Writes an array as .npy bytes, equal to `numpy.save`'s (version 1; version 2 for very long shapes).
 *
 * @throws DataError when the data does not have the length or the typed array of its dtype and shape
 */
export function writeNpy({ dtype, shape, data }: NpyArray): Uint8Array<ArrayBuffer> {
  const type = NPY_DTYPES[dtype];
  const count = shape.reduce((n, size) => n * size, type.parts);
  const wanted = type.view(new ArrayBuffer(0)).constructor.name;
  if (data.length !== count || data.constructor.name !== wanted) {
    throw new DataError("npy", "data disagree with dtype and shape", {
      expected: `${wanted} of ${count} numbers for ${dtype} [${shape.join(", ")}]`,
      got: `${data.constructor.name} of ${data.length}`,
    });
  }
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const order = type.bytes === 1 ? "|" : "<";
  const fields = `{'descr': '${order}${dtype}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // numpy leaves room for the first size to grow to 21 digits in place
  const room = shape.length === 0 ? 0 : 21 - String(shape[0]).length;
  const short = padHeader(fields, room, 10);
  const isShort = short.length < 65536;
  const text = isShort ? short : padHeader(fields, room, 12);
  const start = (isShort ? 10 : 12) + text.length;
  const out = new Uint8Array(start + data.byteLength);
  out.set(MAGIC);
  out[6] = isShort ? 1 : 2;
  const view = new DataView(out.buffer);
  if (isShort) view.setUint16(8, text.length, true);
  else view.setUint32(8, text.length, true);
  out.set(new TextEncoder().encode(text), start - text.length);
  out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start);
  return out;
}

/** The fields, padded with spaces and closed by a newline so that the data start at a multiple of 64. */
function padHeader(fields: string, room: number, before: number): string {
  const length = fields.length + room + 1;
  return `${fields}${" ".repeat(room + 64 - ((before + length) % 64))}\n`;
}

function readHead(op: string, bytes: Uint8Array): { text: string; dataStart: number } {
  if (bytes.byteLength < 10 || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new DataError(op, "not an .npy file", { expected: '"\\x93NUMPY" at the start' });
  }
  const version = bytes[6];
  if (version < 1 || version > 3) {
    throw new DataError(op, "unknown .npy version", { expected: "1, 2 or 3", got: `${version}` });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = version === 1 ? 10 : 12;
  const length =
    bytes.byteLength < start ? Infinity : version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (start + length > bytes.byteLength) {
    throw new DataError(op, "header is cut off", {
      expected: `${start + length} bytes`,
      got: `${bytes.byteLength}`,
    });
  }
  const encoding = version === 3 ? "utf-8" : "latin1";
  const text = new TextDecoder(encoding).decode(bytes.subarray(start, start + length));
  return { text, dataStart: start + length };
}

interface Fields {
  readonly descr: unknown;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
}

function readFields(op: string, text: string): Fields {
  let fields: unknown;
  try {
    fields = parsePythonLiteral(text);
  } catch (cause) {
    throw new DataError(op, "header is malformed", { got: JSON.stringify(text.slice(0, 80)), cause });
  }
  const { descr, fortran_order: fortranOrder, shape } = (fields ?? {}) as Record<string, unknown>;
  const isShape = Array.isArray(shape) && shape.every((size) => Number.isSafeInteger(size) && size >= 0);
  if (descr === undefined || typeof fortranOrder !== "boolean" || !isShape) {
    throw new DataError(op, "header is malformed", {
      expected: "descr, fortran_order and shape",
      got: JSON.stringify(fields).slice(0, 80),
    });
  }
  return { descr, fortranOrder, shape: shape as number[] };
}

function swapBytes(bytes: Uint8Array, width: number): void {
  for (let i = 0; i < bytes.length; i += width) bytes.subarray(i, i + width).reverse();
}

/** Column-major elements in row-major order. */
function transpose(bytes: Uint8Array, shape: readonly number[], width: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes.length);
  const index = shape.map(() => 0);
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((n, size) => n * size, width));
  let from = 0;
  for (let to = 0; to < out.length; to += width) {
    for (let b = 0; b < width; b++) out[to + b] = bytes[from + b];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= shape[axis] * strides[axis];
      index[axis] = 0;
    }
  }
  return out;
}
