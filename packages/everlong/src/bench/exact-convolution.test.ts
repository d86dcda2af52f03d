import { expect, test } from "vitest";
import { convolveExactly } from "./exact-convolution.ts";

test.each([
  [7, 7],
  [1, 1],
  [16, 5],
  [16, 16],
  [33, 33],
])("agrees with the sums: length %i, %i taps", (length, taps) => {
  const rows = [1, 2].map((seed) => Array.from({ length }, (_, i) => Math.sin(3 * i + seed)));
  const k = Array.from({ length: taps }, (_, i) => Math.cos(5 * i));
  for (const circular of [true, false]) {
    const got = convolveExactly(rows as [number[], number[]], k, circular);
    rows.forEach((u, r) => {
      for (let t = 0; t < length; t++) {
        let want = 0;
        k.forEach((w, j) => (want += w * (u[circular ? (t - j + length) % length : t - j] ?? 0)));
        expect(got[r]![t]).toBeCloseTo(want, 10);
      }
    });
  }
});
