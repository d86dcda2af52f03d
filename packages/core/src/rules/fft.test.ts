// Transforms of any length: values against the sum, gradients (twice) against finite differences, batching against a loop.

import * as fc from "fast-check";
import { build, checkOp, get } from "@everlong/testing";
import { unitRoot } from "../reference/fourier.ts";
import { subject } from "./check-subject.ts";

for (const inverse of [false, true]) {
  checkOp(subject("fft", inverse ? "fft inverse" : "fft"), {
    cases: [1, 2, 7, 12, 16, 67].map((n) => ({
      inputs: [
        [2, n],
        [2, n],
      ],
      params: { inverse },
    })),
    arbitrary: fc.integer({ min: 1, max: 140 }).map((n) => ({ inputs: [[n], [n]], params: { inverse } })),
    runs: 3,
    expected: ([re, im]) => {
      const n = re!.shape[re!.shape.length - 1]!;
      const part = (
        index: number[],
        pick: (a: number, b: number, c: number, s: number) => number,
      ): number => {
        let total = 0;
        for (let t = 0; t < n; t++) {
          const k = index[index.length - 1]!;
          const [c, s] = unitRoot(inverse ? (k * t) % n : -((k * t) % n), n);
          const at = [...index.slice(0, -1), t];
          total += pick(get(re, at), get(im, at), c, s);
        }
        return total;
      };
      return [
        build(re!.shape, (index) => part(index, (a, b, c, s) => a * c - b * s)),
        build(re!.shape, (index) => part(index, (a, b, c, s) => a * s + b * c)),
      ];
    },
    secondOrder: true,
  });
}
