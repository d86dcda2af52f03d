// What packages and the parity runner say to each other about a case of an original system: its arguments and arrays go in,
// our arrays of the same names come out.

import { DataError } from "@everlong/core";

/** An array of a case or of a result. */
export interface ParityTensor {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number | bigint>;
}

/** What a case brings: constructor arguments, its whole JSON, and its arrays. */
export interface ParityCase {
  readonly args: Readonly<Record<string, unknown>>;
  readonly json: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, ParityTensor>;
}

/** Our side of a case: arrays under their stored names, and results that stand in the JSON. */
export interface ParityResult {
  readonly tensors: ReadonlyMap<string, ParityTensor>;
  readonly json?: unknown;
}

/** Repeats cases of one class or function of an original. */
export type ParityRun = (c: ParityCase) => ParityResult;

/** An array of a case as plain numbers. @throws DataError when the case does not have it */
export function parityNumbers(
  c: Pick<ParityCase, "tensors">,
  name: string,
): { readonly shape: readonly number[]; readonly data: ArrayLike<number> } {
  const found = c.tensors.get(name);
  if (!found) throw new DataError("parity", `the case has no tensor "${name}"`);
  const { shape, data } = found;
  const numbers = typeof data[0] === "bigint" ? Array.from(data, Number) : data;
  return { shape, data: numbers as ArrayLike<number> };
}
