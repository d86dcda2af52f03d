import * as fc from "fast-check";
import { expect, test } from "vitest";
import { planFourier, unitRoot } from "./fourier.ts";

const noise = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => Math.sin(seed + i * i * 1.7 + i) * 2 - 0.3);

function transform(re: Float64Array, im: Float64Array): [Float64Array, Float64Array] {
  const out: [Float64Array, Float64Array] = [new Float64Array(re.length), new Float64Array(re.length)];
  planFourier(re.length)(re, im, ...out, 0);
  return out;
}

// The sum itself, with compensated additions.
function direct(re: Float64Array, im: Float64Array): [Float64Array, Float64Array] {
  const n = re.length;
  const out: [Float64Array, Float64Array] = [new Float64Array(n), new Float64Array(n)];
  const total = (terms: number[]): number => {
    let [sum, lost] = [0, 0];
    for (const x of terms) {
      const next = sum + x;
      lost += Math.abs(sum) > Math.abs(x) ? sum - next + x : x - next + sum;
      sum = next;
    }
    return sum + lost;
  };
  for (let k = 0; k < n; k++) {
    const roots = Array.from({ length: n }, (_, t) => unitRoot((k * t) % n, n));
    out[0][k] = total(roots.flatMap(([c, s], t) => [re[t]! * c, im[t]! * s]));
    out[1][k] = total(roots.flatMap(([c, s], t) => [im[t]! * c, -re[t]! * s]));
  }
  return out;
}

function relative(a: readonly Float64Array[], b: readonly Float64Array[]): number {
  let [error, norm] = [0, 0];
  a.forEach((x, part) =>
    x.forEach((v, i) => ((error += (v - b[part]![i]!) ** 2), (norm += b[part]![i]! ** 2))),
  );
  return Math.sqrt(error / norm);
}

test("roots of unity are right to the last bits", () => {
  expect(unitRoot(1, 4).map((x) => x + 0)).toEqual([0, 1]);
  expect(unitRoot(3, 6).map((x) => x + 0)).toEqual([-1, 0]);
  for (const n of [3, 8, 12, 1000, 1 << 20]) {
    for (const k of [0, 1, n >> 2, n >> 1, n - 1]) {
      const [c, s] = unitRoot(k, n);
      expect(Math.abs(c * c + s * s - 1)).toBeLessThan(4e-16);
      expect(Math.abs(c - Math.cos((2 * Math.PI * k) / n))).toBeLessThan(2e-15);
      expect(Math.abs(s - Math.sin((2 * Math.PI * k) / n))).toBeLessThan(2e-15);
    }
  }
});

test("every small length, and large primes, against the sum", () => {
  for (const n of [
    ...Array.from({ length: 40 }, (_, i) => i + 1),
    61,
    64,
    67,
    122,
    127,
    134,
    210,
    251,
    256,
  ]) {
    const [re, im] = [noise(n, 1), noise(n, 2)];
    expect(relative(transform(re, im), direct(re, im)), `n = ${n}`).toBeLessThan(1.2e-15);
  }
});

test("any length, forward and back", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 0, max: 99 }), (n, seed) => {
      const [re, im] = [noise(n, seed), noise(n, seed + 0.5)];
      const [fRe, fIm] = transform(re, im);
      const [bIm, bRe] = transform(fIm, fRe);
      expect(
        relative(
          [bRe, bIm].map((x) => x.map((v) => v / n)),
          [re, im],
        ),
      ).toBeLessThan(3e-15);
    }),
    { numRuns: 30 },
  );
});
