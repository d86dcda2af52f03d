import { expect, test } from "vitest";
import { HIPPO_MEASURES, hippoCorrection, hippoNplr, hippoTransition } from "./hippo.ts";

test.each(HIPPO_MEASURES)(
  "%s: the normal form has the operator's trace of powers and transfer function",
  (measure) => {
    const size = 10;
    const rank = measure === "legt" ? 2 : 1;
    const { a, b } = hippoTransition(measure, size);
    const { w, p, b: bv } = hippoNplr(measure, size, rank);
    // A plus its correction is skew-symmetric up to a multiple of the identity.
    const rows = hippoCorrection(measure, size, rank);
    const normal = (n: number, k: number): number =>
      rows.reduce((s, r) => s + r[n]! * r[k]!, a[n * size + k]!);
    for (let n = 0; n < size; n++)
      for (let k = 0; k < n; k++) expect(normal(n, k) + normal(k, n)).toBeCloseTo(0, 10);
    // Both forms of b^T b, p^T b and of one application of the normal part agree.
    const inner = (x: typeof bv, y: typeof bv, fn: (n: number) => number = () => 1): number =>
      2 * x.re.reduce((s, v, n) => s + fn(n) * (v * y.re[n]! + x.im[n]! * y.im[n]!), 0);
    const dot = (x: Float64Array, y: Float64Array): number => x.reduce((s, v, n) => s + v * y[n]!, 0);
    expect(inner(bv, bv)).toBeCloseTo(dot(b, b), 9);
    expect(inner(p[0]!, bv)).toBeCloseTo(dot(rows[0]!, b), 9);
    const applied = Float64Array.from({ length: size }, (_, n) =>
      b.reduce((s, v, k) => s + normal(n, k) * v, 0),
    );
    const square = dot(applied, applied);
    expect(inner(bv, bv, (n) => w.re[n]! ** 2 + w.im[n]! ** 2) / square).toBeCloseTo(1, 9);
  },
);

test("wrong sizes and ranks", () => {
  expect(() => hippoTransition("legs", 7)).toThrow(/must be even/);
  expect(() => hippoNplr("legt", 8, 1)).toThrow(/higher rank/);
});
