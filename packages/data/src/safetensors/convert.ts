// Stored elements as ordinary numbers.

import { DataError, fromBf16Bits } from "@everlong/core";
import type { StoredTensor } from "./reader.ts";

/**
 * The elements as doubles, whatever their type; booleans as 0 and 1. Always a copy.
 *
 * @throws DataError for a 64-bit integer that a double cannot hold
 */
export function toFloat64({ dtype, data }: StoredTensor): Float64Array<ArrayBuffer> {
  if (dtype === "BF16") return Float64Array.from(data as Uint16Array, fromBf16Bits);
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    const out = new Float64Array(data.length);
    for (let i = 0; i < data.length; i++) {
      out[i] = Number(data[i]);
      if (!Number.isSafeInteger(out[i])) {
        throw new DataError("toFloat64", `element ${i} is too large`, {
          expected: "integers up to 2^53",
          got: `${data[i]}`,
        });
      }
    }
    return out;
  }
  return Float64Array.from(data);
}

/** The elements as float32; exact for F32, F16, BF16, BOOL and integers of up to 16 bits. Always a copy. */
export function toFloat32(tensor: StoredTensor): Float32Array<ArrayBuffer> {
  const { dtype, data } = tensor;
  // a bf16 is the upper half of a float32
  if (dtype === "BF16")
    return new Float32Array(Uint32Array.from(data as Uint16Array, (bits) => bits << 16).buffer);
  if (data instanceof BigInt64Array || data instanceof BigUint64Array)
    return Float32Array.from(toFloat64(tensor));
  return Float32Array.from(data);
}
