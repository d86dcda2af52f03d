import { benchCase, madeBy, type BenchCase, type BenchInput } from "../bench.ts";
import { fftConvCachedOp, fftConvSpectrumOp, type FftConvCachedParams } from "./cached-op.ts";
import { fftConvFilterGradOp, fftConvOp, type FftConvGradParams, type FftConvParams } from "./op.ts";

const gated: FftConvParams = {
  layout: "bdl",
  circular: false,
  origin: 0,
  adjoint: false,
  inputs: ["u", "k", "postGate"],
};
const bld: FftConvParams = { ...gated, layout: "bld", inputs: ["u", "k", "skip"] };
const gradient = (taps: number): FftConvGradParams => ({
  layout: "bld",
  circular: false,
  origin: 0,
  taps,
  inputs: ["u", "dy"],
});
const rows = (channels: number, length: number): number[][] => [
  [1, channels, length],
  [channels, length],
  [1, channels, length],
];

const cached = (taps: number): FftConvCachedParams => ({
  ...bld,
  taps,
  layout: "bdl",
  inputs: ["u", "spectrum", "postGate"],
});
const kept = (channels: number, length: number): (BenchInput | number[])[] => {
  const spectrum = { layout: "bdl", circular: false, origin: 0, length, inputs: ["k"] } as const;
  const sequence = [1, channels, length];
  return [sequence, madeBy(fftConvSpectrumOp, spectrum, [[channels, length]]), sequence];
};

export const bench: readonly BenchCase[] = [
  ...[1024, 1536, 6000, 8192, 65536].map((length) =>
    benchCase(`FFT convolution, 768 rows of ${length}`, fftConvOp, gated, rows(768, length), rows(3, 100)),
  ),
  benchCase(
    "FFT convolution with kept filters, 768 rows of 8192",
    fftConvCachedOp,
    cached(8192),
    kept(768, 8192),
    kept(3, 8192),
  ),
  benchCase(
    "FFT convolution, [128, 128, 128]",
    fftConvOp,
    bld,
    [[128, 128, 128], [128, 128], [128]],
    [[2, 45, 19], [45, 19], [19]],
  ),
  benchCase(
    "FFT convolution filter gradient, [128, 128, 128]",
    fftConvFilterGradOp,
    gradient(128),
    [
      [128, 128, 128],
      [128, 128, 128],
    ],
    [
      [2, 130, 19],
      [2, 130, 19],
    ],
  ),
];
