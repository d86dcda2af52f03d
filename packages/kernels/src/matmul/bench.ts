import { benchCase, type BenchCase } from "../bench.ts";
import { linearOp } from "./op.ts";

const inputs = (m: number, k: number, n: number): number[][] => [[m, k], [n, k], [n]];

export const bench: readonly BenchCase[] = [
  benchCase(
    "linear 16384 x 128 to 384",
    linearOp,
    { activation: "none", inputs: ["x", "w", "bias"] },
    inputs(16384, 128, 384),
    inputs(7, 45, 19),
  ),
  benchCase(
    "linear 16384 x 128 to 512, SiLU",
    linearOp,
    { activation: "silu", inputs: ["x", "w", "bias"] },
    inputs(16384, 128, 512),
    inputs(7, 45, 19),
  ),
];
