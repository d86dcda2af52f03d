// Cases worth timing, by op. The runner makes the inputs, checks the result against the op's reference on a small case, and
// reads flops and bytes from the op's own cost.

import type { Op } from "@everlong/core";

/** One input of a case. */
export interface BenchInput {
  readonly shape: readonly number[];
  /** Default f32, normal; i32 is uniform in 0 .. below - 1. */
  readonly dtype?: "f32" | "i32";
  readonly below?: number;
  /** Values are uniform in this range instead of normal. */
  readonly range?: readonly [number, number];
}

/** A call to time: `op(inputs, params)`. */
export interface BenchCase {
  readonly name: string;
  readonly op: Op<never>;
  readonly inputs: readonly BenchInput[];
  readonly params: unknown;
  /** The same call on sizes that the float64 reference finishes at once; checked before figures count. */
  readonly small: readonly BenchInput[];
}

/** A case whose parameters fit its op. */
export const benchCase = <P>(
  name: string,
  op: Op<P>,
  params: P,
  inputs: readonly (BenchInput | readonly number[])[],
  small: readonly (BenchInput | readonly number[])[],
): BenchCase => {
  const full = (list: readonly (BenchInput | readonly number[])[]): BenchInput[] =>
    list.map((i) => ("shape" in i ? i : { shape: i as readonly number[] }));
  return { name, op: op as unknown as Op<never>, params, inputs: full(inputs), small: full(small) };
};
