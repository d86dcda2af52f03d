// Index spaces of generated kernels: merged axes, offsets of operands, and how positions are computed in C++.

import { collapse, DTYPES, type DType, type StepOperand } from "@everlong/core";
import type { CudaWord } from "@everlong/kernels/cuda";

/** An index space after merging: `strides[operand][axis]` in elements. */
export interface Space {
  readonly shape: readonly number[];
  readonly strides: readonly (readonly number[])[];
}

export const bytesOf = (dtype: DType): number => DTYPES[dtype].bytes;
export const elementCount = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/**
 * Drops axes of size 1, sorts the others by the strides of operand `leader` (largest first), and merges neighbours that every
 * operand walks as one.
 */
export function mergeAxes(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  leader: number,
): Space {
  const axes = shape.map((_, i) => i).filter((i) => shape[i] !== 1);
  const lead = strides[leader];
  if (lead) axes.sort((a, b) => Math.abs(lead[b]!) - Math.abs(lead[a]!) || a - b);
  return collapse(
    axes.map((i) => shape[i]!),
    strides.map((s) => axes.map((i) => s[i]!)),
  );
}

/** The address word of an operand's first element. */
export function addressWord(
  operand: StepOperand,
  word: { readonly input: number } | { readonly output: number },
): CudaWord {
  return { ...word, byteOffset: operand.view.offset * bytesOf(operand.dtype) };
}

/** Whether positions or addresses of the space may leave 31 bits. */
export function needsWide(space: Space): boolean {
  if (elementCount(space.shape) >= 2 ** 31 - 2 ** 13) return true;
  return space.strides.some(
    (s) => s.reduce((sum, step, a) => sum + Math.abs(step) * (space.shape[a]! - 1), 0) >= 2 ** 31,
  );
}

/**
 * C++ that splits the position `p` of a space of `rank` axes into `x0 .. x<rank-1>`; sizes are the words from `at` on. Axis 0 needs no
 * division.
 */
export function splitPosition(rank: number, p: string, at: number, type: string, prefix: string): string {
  const size = (a: number): string => (type === "int" ? `integer(w, ${at + a})` : `wide(w, ${at + a})`);
  const unsigned = type === "int" ? "u32" : "u64";
  const lines = [`${unsigned} ${prefix}r = (${unsigned})(${p});`];
  for (let a = rank - 1; a > 0; a--) {
    lines.push(
      `const ${type} ${prefix}${a} = (${type})(${prefix}r % (${unsigned})${size(a)}); ${prefix}r /= (${unsigned})${size(a)};`,
    );
  }
  lines.push(`const ${type} ${prefix}0 = (${type})${prefix}r;`);
  return lines.join("\n  ");
}

/** C++ that casts a position to what an iota of floats or ints takes: ints wrap, floats need every bit of a wide one. */
export const positionCast = (type: "int" | "i64", iota: "float" | "int"): string =>
  type === "i64" && iota === "float" ? "(i64)" : "(int)";

/** C++ of the sum over axes of coordinate times stride word. */
export function offsetCode(rank: number, at: number, type: string, prefix: string): string {
  const get = type === "int" ? "integer" : "wide";
  return Array.from({ length: rank }, (_, a) => `${prefix}${a} * ${get}(w, ${at + a})`).join(" + ") || "0";
}
