import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { rmsNormGradOp, rmsNormOp } from "./op.ts";

const forward = (rows: number, n: number): number[][] => [[rows, n], [n]];
const backward = (rows: number, n: number): BenchInput[] => [
  { shape: [rows, n] },
  { shape: [n] },
  { shape: [rows], range: [0.5, 1.5] },
  { shape: [rows, n] },
];

export const bench: readonly BenchCase[] = [
  benchCase(
    "RMS norm, N 128",
    rmsNormOp,
    { eps: 1e-5, inputs: ["x", "weight"] },
    forward(16384, 128),
    forward(5, 45),
  ),
  benchCase(
    "RMS norm gradient, N 128",
    rmsNormGradOp,
    { bias: false, inputs: ["x", "weight", "rstd", "dy"] },
    backward(16384, 128),
    backward(5, 45),
  ),
];
