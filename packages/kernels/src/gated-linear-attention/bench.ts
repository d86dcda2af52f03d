import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { linearScanOp, type LinearScanParams } from "./op.ts";

const inputs = (b: number, t: number, h: number, k: number): BenchInput[] => [
  { shape: [b, t, h, k] },
  { shape: [b, t, h, k] },
  { shape: [b, t, h, k] },
  { shape: [b, t, h, k], range: [-0.5, 0] },
];
const params = (reverse: boolean, decay: "rows" | "columns"): LinearScanParams => ({
  reverse,
  decay,
  inputs: ["a", "b", "c", "g"],
});

export const bench: readonly BenchCase[] = [
  benchCase(
    "gated linear attention, 8 heads of 16",
    linearScanOp,
    params(false, "rows"),
    inputs(128, 128, 8, 16),
    inputs(1, 20, 2, 9),
  ),
  benchCase(
    "the same backwards in time",
    linearScanOp,
    params(true, "columns"),
    inputs(128, 128, 8, 16),
    inputs(1, 20, 2, 9),
  ),
];
