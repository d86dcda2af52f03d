import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { crossEntropyGradOp, crossEntropyOp } from "./op.ts";

const params = { ignoreIndex: -100, labelSmoothing: 0 };
const forward = (rows: number, classes: number): BenchInput[] => [
  { shape: [rows, classes] },
  { shape: [rows], dtype: "i32", below: classes },
];
const backward = (rows: number, classes: number): BenchInput[] => [
  ...forward(rows, classes),
  { shape: [rows], range: [Math.log(classes), Math.log(classes) + 1] },
  { shape: [rows] },
];

export const bench: readonly BenchCase[] = [
  [16384, 16],
  [2048, 50257],
].flatMap(([rows, classes]) => [
  benchCase(
    `cross-entropy, ${classes} classes`,
    crossEntropyOp,
    params,
    forward(rows!, classes!),
    forward(3, 45),
  ),
  benchCase(
    `cross-entropy gradient, ${classes} classes`,
    crossEntropyGradOp,
    params,
    backward(rows!, classes!),
    backward(3, 45),
  ),
]);
