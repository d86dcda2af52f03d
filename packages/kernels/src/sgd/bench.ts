import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { sgdOp } from "./op.ts";

const inputs = (count: number): BenchInput[] => [
  { shape: [count] },
  { shape: [count] },
  { shape: [count] },
  { shape: [], range: [0.001, 0.002] },
];

export const bench: readonly BenchCase[] = [
  benchCase(
    "SGD, 1M parameters",
    sgdOp,
    { momentum: 0.9, weightDecay: 0, nesterov: false },
    inputs(1 << 20),
    inputs(45),
  ),
];
