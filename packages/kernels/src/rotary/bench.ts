import { benchCase, type BenchCase } from "../bench.ts";
import { rotaryOp } from "./op.ts";

const inputs = (b: number, t: number, h: number, k: number): number[][] => [
  [b, t, h, k],
  [t, k / 2],
  [t, k / 2],
];

export const bench: readonly BenchCase[] = [
  benchCase(
    "rotary, 16 heads of 8",
    rotaryOp,
    { interleaved: false, inverse: false },
    inputs(128, 128, 16, 8),
    inputs(1, 9, 3, 10),
  ),
];
