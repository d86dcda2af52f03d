// numpy's type strings ("<f4", ">i2", "|b1") and the arrays that hold their elements.

import { DataError } from "@everlong/core";

/** Element types that .npy files hold here. Two-byte floats are IEEE halves; numpy has no bf16. */
export type NpyDType =
  | "f2"
  | "f4"
  | "f8"
  | "i1"
  | "i2"
  | "i4"
  | "i8"
  | "u1"
  | "u2"
  | "u4"
  | "u8"
  | "b1"
  | "c8"
  | "c16";

/** Elements of an .npy array. b1 is 0/1 bytes; c8 and c16 are pairs (re, im). */
export type NpyData =
  | Float16Array
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

interface NpyType {
  /** Bytes of one number; of one half of a complex element. */
  readonly bytes: number;
  /** Numbers in an element. */
  readonly parts: 1 | 2;
  readonly view: (buffer: ArrayBuffer) => NpyData;
}

/** Widths and arrays of the element types. */
export const NPY_DTYPES: { readonly [D in NpyDType]: NpyType } = {
  f2: { bytes: 2, parts: 1, view: (b) => new Float16Array(b) },
  f4: { bytes: 4, parts: 1, view: (b) => new Float32Array(b) },
  f8: { bytes: 8, parts: 1, view: (b) => new Float64Array(b) },
  i1: { bytes: 1, parts: 1, view: (b) => new Int8Array(b) },
  i2: { bytes: 2, parts: 1, view: (b) => new Int16Array(b) },
  i4: { bytes: 4, parts: 1, view: (b) => new Int32Array(b) },
  i8: { bytes: 8, parts: 1, view: (b) => new BigInt64Array(b) },
  u1: { bytes: 1, parts: 1, view: (b) => new Uint8Array(b) },
  u2: { bytes: 2, parts: 1, view: (b) => new Uint16Array(b) },
  u4: { bytes: 4, parts: 1, view: (b) => new Uint32Array(b) },
  u8: { bytes: 8, parts: 1, view: (b) => new BigUint64Array(b) },
  b1: { bytes: 1, parts: 1, view: (b) => new Uint8Array(b) },
  c8: { bytes: 4, parts: 2, view: (b) => new Float32Array(b) },
  c16: { bytes: 8, parts: 2, view: (b) => new Float64Array(b) },
};

/** Splits a type string into its type and whether its bytes are swapped. @throws DataError for any other type */
export function parseDescr(op: string, descr: unknown): { dtype: NpyDType; swapped: boolean } {
  const match = typeof descr === "string" ? /^([<>|=])([a-zA-Z]\d+)$/.exec(descr) : null;
  const dtype = match?.[2] ?? "";
  if (match && Object.hasOwn(NPY_DTYPES, dtype))
    return { dtype: dtype as NpyDType, swapped: match[1] === ">" };
  if (typeof descr === "string" && /^[<>|=]?O/.test(descr)) {
    throw new DataError(op, "array of Python objects", {
      expected: "numbers or booleans",
      got: descr,
      hint: "Such files hold pickled code; save a numeric array instead.",
    });
  }
  throw new DataError(op, "unsupported element type", {
    expected: Object.keys(NPY_DTYPES).join(", "),
    got: JSON.stringify(descr) ?? "none",
  });
}
