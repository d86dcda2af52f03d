import { expect, test } from "vitest";
import { convolveExactly } from "./exact-convolution.ts";

test.each([
  [7, 7],
  [16, 5],
  [33, 33],
])("agrees with the sums: length %i, %i taps", (length, taps) => {
  const u = Array.from({ length }, (_, i) => Math.sin(3 * i + 1));
  const k = Array.from({ length: taps }, (_, i) => Math.cos(5 * i));
  for (const circular of [true, false]) {
    const got = convolveExactly(u, k, circular);
    for (let t = 0; t < length; t++) {
      let want = 0;
      k.forEach((w, j) => (want += w * (u[circular ? (t - j + length) % length : t - j] ?? 0)));
      expect(got[t]).toBeCloseTo(want, 10);
    }
  }
});
