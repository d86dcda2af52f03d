// Comparing our tensors and documents with a case's.

import { fromBf16Bits } from "@everlong/core";
import type { StoredTensor } from "@everlong/data";
import type { Tolerance } from "./case.ts";

/** Our side of a tensor. */
export interface Result {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number | bigint>;
}

/** How far one tensor is off. */
export interface Deviation {
  readonly tensor: string;
  readonly error: number;
  readonly tolerance: Tolerance;
  readonly ok: boolean;
  readonly note?: string;
}

/** Element `i` of a stored tensor as a number; bf16 is stored as bits. */
function stored(t: StoredTensor, i: number): number {
  const x = t.data[i]!;
  return t.dtype === "BF16" ? fromBf16Bits(Number(x)) : Number(x);
}

/** All values of a stored tensor as numbers. */
export const storedValues = (t: StoredTensor): Float64Array =>
  Float64Array.from({ length: t.data.length }, (_, i) => stored(t, i));

/** Relative L2 distance, absolute where the reference is tiny; NaN only equals NaN. */
export function relativeL2(ours: ArrayLike<number | bigint>, reference: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < reference.length; i++) {
    const [a, b] = [Number(ours[i]), reference[i]!];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) {
      if (Number.isFinite(b)) size += b * b;
      continue;
    }
    difference += (a - b) ** 2;
    size += b * b;
  }
  const norm = Math.sqrt(size);
  const error = Math.sqrt(difference);
  if (Number.isNaN(error)) return Number.POSITIVE_INFINITY;
  return norm < 1e-12 ? error : error / norm;
}

/** Compares one tensor under its tolerance. */
export function compareTensor(
  name: string,
  ours: Result | undefined,
  reference: StoredTensor,
  tolerance: Tolerance,
): Deviation {
  const fail = (note: string): Deviation => ({
    tensor: name,
    error: Number.POSITIVE_INFINITY,
    tolerance,
    ok: false,
    note,
  });
  if (!ours) return fail("not computed");
  if (ours.data.length !== reference.data.length) {
    return fail(`shape [${ours.shape.join(", ")}] instead of [${reference.shape.join(", ")}]`);
  }
  const values = storedValues(reference);
  if (tolerance === "exact") {
    let wrong = 0;
    for (let i = 0; i < values.length; i++) if (Number(ours.data[i]) !== values[i]) wrong++;
    const note = wrong > 0 ? `${wrong} of ${values.length} values differ` : undefined;
    return { tensor: name, error: wrong, tolerance, ok: wrong === 0, ...(note ? { note } : {}) };
  }
  const error = relativeL2(ours.data, values);
  return { tensor: name, error, tolerance, ok: tolerance === null || error <= tolerance };
}

/** Compares what we say with the case's document, key by key of ours, to a relative tolerance on numbers. */
export function compareDocument(
  ours: unknown,
  reference: unknown,
  tolerance: number,
  path = "json",
): Deviation[] {
  const bad = (note: string): Deviation[] => [
    { tensor: path, error: Number.POSITIVE_INFINITY, tolerance, ok: false, note },
  ];
  if (typeof reference === "number" && typeof ours === "number") {
    const same = ours === reference || (Number.isNaN(ours) && Number.isNaN(reference));
    const scale = Math.abs(reference) < 1e-12 ? 1 : Math.abs(reference);
    const error = same ? 0 : Math.abs(ours - reference) / scale;
    return [{ tensor: path, error, tolerance, ok: error <= tolerance }];
  }
  if (Array.isArray(reference)) {
    if (!Array.isArray(ours) || ours.length !== reference.length) return bad("another length");
    return reference.flatMap((r, i) => compareDocument(ours[i], r, tolerance, `${path}[${i}]`));
  }
  if (reference !== null && typeof reference === "object") {
    if (ours === null || typeof ours !== "object") return bad("not a record");
    const keys =
      path === "json" ? Object.keys(ours) : [...new Set([...Object.keys(ours), ...Object.keys(reference)])];
    return keys.flatMap((k) =>
      compareDocument(
        (ours as Record<string, unknown>)[k],
        (reference as Record<string, unknown>)[k],
        tolerance,
        `${path}.${k}`,
      ),
    );
  }
  // A missing number is written null, NaN or left out, depending on the original's writer.
  const missing = (x: unknown): boolean =>
    x === null || x === undefined || (typeof x === "number" && Number.isNaN(x));
  return ours === reference || (missing(ours) && missing(reference))
    ? [{ tensor: path, error: 0, tolerance, ok: true }]
    : bad(`${JSON.stringify(ours)} instead of ${JSON.stringify(reference)}`);
}
