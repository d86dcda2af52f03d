import { benchCase, type BenchCase } from "../bench.ts";
import { softmaxGradOp, softmaxOp } from "./op.ts";

export const bench: readonly BenchCase[] = [
  benchCase("softmax", softmaxOp, {}, [[4096, 1000]], [[3, 45]]),
  benchCase(
    "softmax gradient",
    softmaxGradOp,
    {},
    [
      [4096, 1000],
      [4096, 1000],
    ],
    [
      [3, 45],
      [3, 45],
    ],
  ),
];
