// A matcher for arrays of floats: `expect(got).toBeCloseToArray(want, 1e-6)`.

import { expect } from "vitest";
import { maxError, relativeError } from "./relative-error.ts";

type Numbers = number | ArrayLike<number> | readonly Nested[];
type Nested = number | readonly Nested[];

declare module "vitest" {
  // oxlint-disable-next-line typescript/no-unused-vars -- the type parameters of vitest's own declaration
  interface Matchers<R extends void | Promise<void> = void | Promise<void>, T = unknown> {
    /**
     * Relative L2 error at most `tolerance` (default 1e-6), NaN and infinities at the same places. Nested arrays are
     * flattened.
     */
    toBeCloseToArray: (expected: Numbers, tolerance?: number) => R;
  }
}

const flat = (x: Numbers): number[] =>
  typeof x === "number"
    ? [x]
    : Array.isArray(x)
      ? x.flatMap((y: Numbers) => flat(y))
      : Array.from(x as ArrayLike<number>);

expect.extend({
  toBeCloseToArray(received: Numbers, expected: Numbers, tolerance = 1e-6) {
    const [got, want] = [flat(received), flat(expected)];
    const error = relativeError(got, want);
    const worst = got.findIndex(
      (x, i) => Math.abs(x - want[i]!) === Math.max(...got.map((y, j) => Math.abs(y - want[j]!))),
    );
    return {
      pass: error <= tolerance,
      message: () =>
        got.length === want.length
          ? `relative L2 error ${error.toExponential(2)} (largest ${maxError(got, want).toExponential(2)} of the maximum, at ${worst}: ` +
            `${got[worst]} instead of ${want[worst]}), tolerance ${tolerance.toExponential(1)}`
          : `${got.length} elements instead of ${want.length}`,
    };
  },
});
