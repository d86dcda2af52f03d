import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import {
  butterflyAdjointOp,
  butterflyConvOp,
  butterflyFilterGradOp,
  butterflyMatrixGradOp,
  butterflyOp,
  type ButterflyParams,
} from "./op.ts";

const params: ButterflyParams = { layout: "bld", radices: [16, 16, 2] };
const POINTS = 512;
const matrices: readonly BenchInput[] = params.radices.map((m) => ({
  shape: [2, m, m],
  range: [-0.25, 0.25],
}));
const sequences = [16, 256, 192];
const spectra = [16, POINTS, 192];
const few = [2, 40, 11];
const fewSpectra = [2, POINTS, 11];

/** Learned block FFTs of 16 x 256 steps of 192 channels, in 512 points. */
export const bench: readonly BenchCase[] = [
  benchCase("butterfly", butterflyOp, params, [sequences, ...matrices], [few, ...matrices]),
  benchCase(
    "butterfly, adjoint",
    butterflyAdjointOp,
    { ...params, length: 256 },
    [spectra, spectra, ...matrices],
    [fewSpectra, fewSpectra, ...matrices],
  ),
  benchCase(
    "butterfly, gradient of its matrices",
    butterflyMatrixGradOp,
    params,
    [sequences, spectra, spectra, ...matrices],
    [few, fewSpectra, fewSpectra, ...matrices],
  ),
  benchCase(
    "butterfly convolution",
    butterflyConvOp,
    { ...params, adjoint: false },
    [sequences, [256, 192], ...matrices],
    [few, [40, 11], ...matrices],
  ),
  benchCase(
    "butterfly convolution, gradient of its filters",
    butterflyFilterGradOp,
    { ...params, taps: 256 },
    [sequences, sequences, ...matrices],
    [few, few, ...matrices],
  ),
];
