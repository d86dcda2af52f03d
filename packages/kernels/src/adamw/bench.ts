import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { adamwOp } from "./op.ts";

const inputs = (count: number): BenchInput[] => [
  { shape: [count] },
  { shape: [count] },
  { shape: [count] },
  { shape: [count], range: [0.5, 1.5] },
  { shape: [], range: [0.001, 0.002] },
  { shape: [], range: [2, 3] },
];

export const bench: readonly BenchCase[] = [
  benchCase(
    "AdamW, 1M parameters",
    adamwOp,
    { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1 },
    inputs(1 << 20),
    inputs(45),
  ),
];
