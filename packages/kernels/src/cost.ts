// Counting for op costs.

import { DTYPES, sizeOf, type TensorType } from "@everlong/core";

/** Bytes of all the tensors, each read or written once. */
export const bytesMoved = (...groups: (readonly TensorType[])[]): number =>
  groups.flat().reduce((n, t) => n + sizeOf(t.shape) * DTYPES[t.dtype].bytes, 0);
