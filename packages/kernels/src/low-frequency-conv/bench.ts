import { benchCase, type BenchCase } from "../bench.ts";
import { lowFrequencyConvOp, type LowFrequencyConvParams } from "./op.ts";

const BINS = 512;
const params: LowFrequencyConvParams = { layout: "bdl", bins: BINS, adjoint: false, inputs: ["u", "k"] };
const shapes = (batch: number, channels: number, length: number): number[][] => [
  [batch, channels, length],
  [channels, length],
];

// small cases keep the number of frequencies; lengths with and without large common factors with the grid's
export const bench: readonly BenchCase[] = [
  [8192, 2048],
  [2048, 1003],
].map(([length, small]) =>
  benchCase(
    `low-frequency convolution, ${BINS} frequencies of ${length}`,
    lowFrequencyConvOp,
    params,
    shapes(4, 192, length!),
    shapes(1, 9, small!),
  ),
);
