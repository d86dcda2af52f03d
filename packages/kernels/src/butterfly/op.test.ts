import { describe, expect, test } from "vitest";
import { grad, mul, ones, rfft, sum, tensor, withDevice, type Tensor } from "@everlong/core";
import { Random, checkOp, relativeError, valuesOf } from "@everlong/testing";
import { fftConv } from "../fft-conv/fft-conv.ts";
import {
  butterflyAdjointOp,
  butterflyConv,
  butterflyConvOp,
  butterflyFilterGradOp,
  butterflyMatrixGradOp,
  butterflyOp,
  butterflyRadices,
  dftMatrix,
} from "./op.ts";

const w = (m: number): number[] => [2, m, m];
checkOp(butterflyOp, {
  cases: [
    { inputs: [[2, 3, 5], w(4), w(2)], params: { layout: "bdl", radices: [4, 2] } },
    { inputs: [[1, 7, 9], w(3), w(4)], params: { layout: "bld", radices: [3, 4] } },
  ],
  batch: [true, false, false],
  secondOrder: true,
  gradcheck: 1e-6,
});
checkOp(butterflyAdjointOp, {
  cases: [
    { inputs: [[2, 8, 3], [2, 8, 3], w(2), w(4)], params: { layout: "bdl", radices: [2, 4], length: 5 } },
    { inputs: [[1, 12, 9], [1, 12, 9], w(4), w(3)], params: { layout: "bld", radices: [4, 3], length: 12 } },
  ],
  batch: [true, true, false, false],
  secondOrder: true,
  gradcheck: 1e-6,
});
checkOp(butterflyMatrixGradOp, {
  cases: [
    { inputs: [[2, 3, 5], [2, 8, 3], [2, 8, 3], w(4), w(2)], params: { layout: "bdl", radices: [4, 2] } },
  ],
  batch: false,
  secondOrder: true,
  gradcheck: 1e-6,
});

checkOp(butterflyConvOp, {
  cases: [
    { inputs: [[2, 3, 5], [3, 4], w(4), w(2)], params: { layout: "bdl", radices: [4, 2], adjoint: false } },
    { inputs: [[2, 5, 3], [8, 3], w(4), w(2)], params: { layout: "bld", radices: [4, 2], adjoint: true } },
  ],
  batch: [true, false, false, false],
  secondOrder: true,
  gradcheck: 1e-6,
});
checkOp(butterflyFilterGradOp, {
  cases: [
    { inputs: [[2, 3, 5], [2, 3, 5], w(4), w(2)], params: { layout: "bdl", radices: [4, 2], taps: 6 } },
  ],
  batch: false,
  secondOrder: true,
  gradcheck: 1e-6,
});

const matricesOf = (radices: readonly number[]): Tensor[] => radices.map((m) => dftMatrix(m));
const sample = (seed: number, ...shape: number[]): Tensor =>
  tensor(new Random(seed).normals(shape.reduce((a, b) => a * b, 1)), shape);

describe("butterflies of the DFT's matrices", () => {
  test.each([[[16]], [[4, 2]], [[16, 16, 2]], [[2, 8, 4]], [[3, 5]]])(
    "%j: an FFT in digit-reversed order",
    (radices) =>
      withDevice("reference", async () => {
        const size = radices.reduce((a, b) => a * b, 1);
        const x = sample(1, 1, 1, size);
        const [re, im] = butterflyOp([x, ...matricesOf(radices)], { layout: "bdl", radices });
        const half = rfft(x.reshape([size]), { n: size });
        const [wantRe, wantIm] = [await valuesOf(half.re), await valuesOf(half.im)];
        const [gotRe, gotIm] = [await valuesOf(re!), await valuesOf(im!)];
        const want: number[] = [];
        const got: number[] = [];
        for (let at = 0; at < size; at++) {
          // the first stage's row is the lowest digit of the frequency
          let [rest, frequency, weight, length] = [at, 0, 1, size];
          for (const m of radices) {
            length /= m;
            frequency += Math.floor(rest / length) * weight;
            rest %= length;
            weight *= m;
          }
          const mirrored = frequency > size / 2;
          const k = mirrored ? size - frequency : frequency;
          want.push(wantRe[k]!, mirrored ? -wantIm[k]! : wantIm[k]!);
          got.push(gotRe[at]!, gotIm[at]!);
        }
        expect(relativeError(got, want)).toBeLessThan(1e-14);
      }),
  );

  test.each([1, 7, 33, 100])("the convolution is the FFT convolution, L %i", (length) =>
    withDevice("reference", async () => {
      const [u, k, skip] = [sample(2, 2, 3, length), sample(3, 3, length), sample(4, 3)];
      const matrices = matricesOf(butterflyRadices(2 * length));
      const want = await valuesOf(fftConv(u, k, { skip }));
      expect(relativeError(await valuesOf(butterflyConv(u, k, matrices, { skip })), want)).toBeLessThan(
        1e-13,
      );
      const turned = butterflyConv(u.permute([0, 2, 1]), k.permute([1, 0]), matrices, {
        skip,
        layout: "bld",
      });
      expect(relativeError(await valuesOf(turned.permute([0, 2, 1])), want)).toBeLessThan(1e-13);
    }),
  );

  test("other matrices make another operator, and gradients reach them", () =>
    withDevice("reference", async () => {
      const [u, k] = [sample(2, 1, 2, 16), sample(3, 2, 16)];
      const matrices = matricesOf(butterflyRadices(32));
      const noisy = matrices.map((m, i) => m.add(sample(9 + i, ...m.shape).mul(0.1)));
      const want = await valuesOf(fftConv(u, k));
      expect(relativeError(await valuesOf(butterflyConv(u, k, noisy)), want)).toBeGreaterThan(0.05);
      const dw = grad((m: Tensor) => sum(mul(butterflyConv(u, k, [m, noisy[1]!]), u)))(noisy[0]!);
      expect(Math.max(...(await valuesOf(dw)))).toBeGreaterThan(0);
    }));

  test("stages, and what does not fit", () =>
    withDevice("reference", () => {
      expect(butterflyRadices(8192)).toEqual([16, 16, 16, 2]);
      expect(butterflyRadices(1000, 32)).toEqual([32, 32]);
      expect(butterflyRadices(1)).toEqual([2]);
      expect(() => butterflyRadices(9, 12)).toThrow(/power of two/);
      const u = ones([1, 2, 9]);
      expect(() => butterflyConv(u, ones([2, 9]), matricesOf([4, 2]))).toThrow(/do not fit the transform/);
      expect(() => butterflyOp([u, dftMatrix(4)], { layout: "bdl", radices: [4, 4] })).toThrow(/one matrix/);
    }));
});
