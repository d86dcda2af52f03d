import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { selectiveScanGradOp, selectiveScanOp } from "./op.ts";

const forward = (b: number, t: number, d: number, n: number): BenchInput[] => [
  { shape: [b, t, d] },
  { shape: [b, t, d], range: [0.05, 0.5] },
  { shape: [d, n], range: [-2, -0.2] },
  { shape: [b, t, n] },
  { shape: [b, t, n] },
];
const backward = (b: number, t: number, d: number, n: number): BenchInput[] => [
  ...forward(b, t, d, n),
  { shape: [b, t, d] },
];

export const bench: readonly BenchCase[] = [
  benchCase(
    "selective scan, 4 states",
    selectiveScanOp,
    { inputs: ["u", "delta", "a", "b", "c"] },
    forward(128, 128, 256, 4),
    forward(1, 20, 19, 4),
  ),
  benchCase(
    "selective scan gradient, 4 states",
    selectiveScanGradOp,
    { inputs: ["u", "delta", "a", "b", "c", "dy"] },
    backward(128, 128, 256, 4),
    backward(1, 20, 19, 4),
  ),
];
