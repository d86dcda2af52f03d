// The element types of the safetensors format and the typed arrays that carry them on the host.

/** safetensors' own names of element types. */
export type SafetensorsDType =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U64"
  | "U32"
  | "U16"
  | "U8"
  | "BOOL";

/** Host storage of a stored tensor. BF16 travels as its 16 bits, BOOL as 0/1 bytes. */
export type StoredArray =
  | Float64Array
  | Float32Array
  | Float16Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint32Array
  | Uint16Array
  | Uint8Array;

interface StoredType {
  readonly bytes: number;
  readonly view: (buffer: ArrayBufferLike, offset: number, length: number) => StoredArray;
  /** Place in the order in which the format's own library writes tensors: wide types first. */
  readonly order: number;
}

/** Width, typed array and write order of every supported element type. */
export const SAFETENSORS_DTYPES: { readonly [D in SafetensorsDType]: StoredType } = {
  U64: { bytes: 8, order: 0, view: (b, o, n) => new BigUint64Array(b, o, n) },
  I64: { bytes: 8, order: 1, view: (b, o, n) => new BigInt64Array(b, o, n) },
  F64: { bytes: 8, order: 2, view: (b, o, n) => new Float64Array(b, o, n) },
  F32: { bytes: 4, order: 3, view: (b, o, n) => new Float32Array(b, o, n) },
  U32: { bytes: 4, order: 4, view: (b, o, n) => new Uint32Array(b, o, n) },
  I32: { bytes: 4, order: 5, view: (b, o, n) => new Int32Array(b, o, n) },
  BF16: { bytes: 2, order: 6, view: (b, o, n) => new Uint16Array(b, o, n) },
  F16: { bytes: 2, order: 7, view: (b, o, n) => new Float16Array(b, o, n) },
  U16: { bytes: 2, order: 8, view: (b, o, n) => new Uint16Array(b, o, n) },
  I16: { bytes: 2, order: 9, view: (b, o, n) => new Int16Array(b, o, n) },
  I8: { bytes: 1, order: 10, view: (b, o, n) => new Int8Array(b, o, n) },
  U8: { bytes: 1, order: 11, view: (b, o, n) => new Uint8Array(b, o, n) },
  BOOL: { bytes: 1, order: 12, view: (b, o, n) => new Uint8Array(b, o, n) },
};

/** Whether `name` is an element type this reader holds. */
export const isSafetensorsDType = (name: unknown): name is SafetensorsDType =>
  typeof name === "string" && Object.hasOwn(SAFETENSORS_DTYPES, name);
