import { expect, test } from "vitest";
import type { WasmTarget } from "../wasm-step.ts";
import { contiguous, runChecked } from "../wasm-step-runner.ts";
import { fftWasm } from "./wasm-fft.ts";

const TARGETS: WasmTarget[] = [
  { width: 1, relaxed: true },
  { width: 2, relaxed: true },
  { width: 2, relaxed: false },
];

let seed = 3;
const random = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 31 - 1;
};

/** Relative error of the transform of one row against sums in float64, at about 20 frequencies. */
function rowError(
  re: Float32Array,
  im: Float32Array,
  outRe: Float32Array,
  outIm: Float32Array,
  inverse: boolean,
): number {
  const n = re.length;
  const step = Math.max(1, Math.floor(n / 20));
  let [error, norm] = [0, 0];
  for (let f = 0; f < n; f += step) {
    let [sr, si] = [0, 0];
    for (let t = 0; t < n; t++) {
      const angle = ((inverse ? 2 : -2) * Math.PI * ((f * t) % n)) / n;
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      sr += re[t]! * c - im[t]! * s;
      si += re[t]! * s + im[t]! * c;
    }
    error += (sr - outRe[f]!) ** 2 + (si - outIm[f]!) ** 2;
    norm += sr * sr + si * si;
  }
  return Math.sqrt(error / norm);
}

test.each([
  1, 2, 3, 5, 7, 13, 15, 16, 17, 24, 30, 31, 32, 40, 48, 63, 64, 80, 81, 96, 100, 128, 160, 192, 256, 320,
  500, 768, 1000, 1536, 2048, 2187, 4099, 6144,
])("length %i, both ways", (n) => {
  for (const target of TARGETS)
    for (const inverse of [false, true])
      for (const rows of n > 100 ? [3] : [1, 5, 9, 37]) {
        const input = () => ({
          view: contiguous([rows, n]),
          data: Float32Array.from({ length: rows * n }, random),
        });
        const [re, im] = [input(), input()];
        const [outRe, outIm] = runChecked(
          fftWasm,
          [re, im],
          [
            [rows, n],
            [rows, n],
          ],
          { inverse },
          target,
        );
        for (const r of rows > 9 ? [0, 17, rows - 1] : [0, rows - 1]) {
          const row = (x: Float32Array): Float32Array => x.subarray(r * n, (r + 1) * n);
          expect(rowError(row(re.data), row(im.data), row(outRe!), row(outIm!), inverse)).toBeLessThan(1e-6);
        }
      }
});
