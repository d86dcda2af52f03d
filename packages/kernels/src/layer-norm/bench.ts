import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { layerNormGradOp, layerNormOp } from "./op.ts";

const forward = (rows: number, n: number): number[][] => [[rows, n], [n], [n]];
const backward = (rows: number, n: number): BenchInput[] => [
  { shape: [rows, n] },
  { shape: [n] },
  { shape: [rows] },
  { shape: [rows], range: [0.5, 1.5] },
  { shape: [rows, n] },
];

export const bench: readonly BenchCase[] = [
  benchCase(
    "layer norm, N 128",
    layerNormOp,
    { eps: 1e-5, inputs: ["x", "weight", "bias"] },
    forward(16384, 128),
    forward(5, 45),
  ),
  benchCase(
    "layer norm gradient, N 128",
    layerNormGradOp,
    { bias: true, inputs: ["x", "weight", "mean", "rstd", "dy"] },
    backward(16384, 128),
    backward(5, 45),
  ),
];
