import { expect, test } from "vitest";
import { fitModes, type ModalFit } from "./modal-fit.ts";

/** The taps that a fit stands for, by its definition. */
function tapsOf(fit: ModalFit, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, j) => {
    if (j === 0) return fit.first;
    let total = 0;
    fit.decay.forEach((d, n) => {
      const [size, turn] = [Math.exp(d * (j - 1)), fit.angle[n]! * (j - 1)];
      total += size * (fit.weightRe[n]! * Math.cos(turn) - fit.weightIm[n]! * Math.sin(turn));
    });
    return total;
  });
}
const distance = (a: Float64Array, b: Float64Array): number => {
  const size = (x: Float64Array): number => Math.sqrt(x.reduce((n, v) => n + v * v, 0));
  return size(a.map((v, i) => v - b[i]!)) / size(a);
};

test("finds a sum of oscillations again, real poles of both signs among them", () => {
  const taps = Float64Array.from(
    { length: 300 },
    (_, t) =>
      0.9 ** t * Math.cos(0.7 * t + 0.3) -
      2 * 0.97 ** t * Math.sin(0.2 * t) +
      0.5 * 0.8 ** t +
      0.3 * (-0.6) ** t,
  );
  taps[0]! += 5;
  const fit = fitModes(taps, { modes: 4 });
  expect(fit.first).toBe(taps[0]);
  expect(fit.error).toBeLessThan(1e-9);
  expect(distance(taps, tapsOf(fit, 300))).toBeCloseTo(fit.error, 9);
  expect(Math.max(...fit.decay)).toBeLessThanOrEqual(0);
});

test("more modes fit an awkward filter better; refinement helps; the error is what it says", () => {
  const taps = Float64Array.from({ length: 257 }, (_, t) => Math.exp(-t / 60) * Math.cos(t ** 1.3 / 9));
  const errors = [1, 2, 4, 8, 16].map((modes) => {
    const fit = fitModes(taps, { modes });
    expect(distance(taps, tapsOf(fit, taps.length))).toBeCloseTo(fit.error, 8);
    expect(Math.max(...fit.decay)).toBeLessThanOrEqual(0);
    return fit.error;
  });
  for (let i = 1; i < errors.length; i++) expect(errors[i]).toBeLessThan(errors[i - 1]!);
  expect(errors.at(-1)).toBeLessThan(0.02);
  expect(fitModes(taps, { modes: 4 }).error).toBeLessThan(fitModes(taps, { modes: 4, refine: 0 }).error);
});

test("filters of zeros, of one tap, that grow; too few taps", () => {
  expect(fitModes(new Float64Array(40), { modes: 2 }).error).toBe(0);
  const one = new Float64Array(40);
  one[3] = 1;
  expect(Number.isFinite(fitModes(one, { modes: 3 }).error)).toBe(true);
  const growing = Float64Array.from({ length: 100 }, (_, t) => 1.02 ** t);
  const fit = fitModes(growing, { modes: 2 });
  expect(Math.max(...fit.decay)).toBeLessThanOrEqual(0);
  expect(fit.error).toBeGreaterThan(0.01);
  expect(() => fitModes(new Float64Array(9), { modes: 2 })).toThrow(/too few taps.*at least 10/);
});
