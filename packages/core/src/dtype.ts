// The number formats a tensor may hold and the typed arrays that carry them on the host.

import { DTypeError } from "./errors.ts";

export type DType = "f32" | "f16" | "bf16" | "f64" | "i32" | "u8" | "bool";

/** Host storage of a dtype. bf16 travels as its 16 bits in a Uint16Array, bool as 0/1 bytes. */
export type TypedArray = Float32Array | Float16Array | Float64Array | Int32Array | Uint16Array | Uint8Array;

export interface DTypeInfo {
  readonly bytes: number;
  readonly kind: "float" | "int" | "bool";
  /** Position in the promotion order of mixed operands. */
  readonly rank: number;
  readonly array: (length: number) => TypedArray;
}

export const DTYPES: { readonly [D in DType]: DTypeInfo } = {
  bool: { bytes: 1, kind: "bool", rank: 0, array: (n) => new Uint8Array(n) },
  u8: { bytes: 1, kind: "int", rank: 1, array: (n) => new Uint8Array(n) },
  i32: { bytes: 4, kind: "int", rank: 2, array: (n) => new Int32Array(n) },
  f16: { bytes: 2, kind: "float", rank: 3, array: (n) => new Float16Array(n) },
  bf16: { bytes: 2, kind: "float", rank: 3, array: (n) => new Uint16Array(n) },
  f32: { bytes: 4, kind: "float", rank: 4, array: (n) => new Float32Array(n) },
  f64: { bytes: 8, kind: "float", rank: 5, array: (n) => new Float64Array(n) },
};

/** Gives the dtype back. @throws DTypeError for a name that is none, such as `float32` */
export function checkDType(op: string, dtype: DType): DType {
  if (Object.hasOwn(DTYPES, dtype)) return dtype;
  throw new DTypeError(op, "unknown dtype", {
    expected: Object.keys(DTYPES).join(", "),
    got: String(dtype),
  });
}

export const isFloat = (d: DType): boolean => DTYPES[d].kind === "float";

/** The dtype of a mixed operation: the higher rank wins; f16 with bf16 meet in f32. */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if ((a === "f16" && b === "bf16") || (a === "bf16" && b === "f16")) return "f32";
  return DTYPES[a].rank >= DTYPES[b].rank ? a : b;
}

const bits = new DataView(new ArrayBuffer(4));

/** Rounds a number to bf16 (ties to even) and returns its 16 bits. */
export function toBf16Bits(x: number): number {
  bits.setFloat32(0, x);
  const u = bits.getUint32(0);
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The number whose bf16 bits are `b`. */
export function fromBf16Bits(b: number): number {
  bits.setUint32(0, (b & 0xffff) << 16);
  return bits.getFloat32(0);
}

/** Reads element `i` of host storage of dtype `d` as a number. */
export function readElement(d: DType, data: TypedArray, i: number): number {
  return d === "bf16" ? fromBf16Bits(data[i]!) : data[i]!;
}

/** Writes `x` into element `i` of host storage of dtype `d`, converted as a cast from float would: integers saturate. */
export function writeElement(d: DType, data: TypedArray, i: number, x: number): void {
  if (d === "bf16") data[i] = toBf16Bits(x);
  else if (d === "bool") data[i] = x !== 0 ? 1 : 0;
  else if (d === "i32") data[i] = saturate(x, -(2 ** 31), 2 ** 31 - 1);
  else if (d === "u8") data[i] = saturate(x, 0, 255);
  else data[i] = x;
}

const saturate = (x: number, low: number, high: number): number =>
  Number.isNaN(x) ? 0 : Math.min(Math.max(Math.trunc(x), low), high);
