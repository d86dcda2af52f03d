import { benchCase, type BenchCase } from "../bench.ts";
import { shortConvGradOp, shortConvOp, type ShortConvGradParams, type ShortConvParams } from "./op.ts";

const forward = (b: number, t: number, d: number): number[][] => [[b, t, d], [d, 3], [d]];
const backward = (b: number, t: number, d: number): number[][] => [...forward(b, t, d), [b, t, d]];
const params: ShortConvParams = { layout: "bld", silu: false, inputs: ["x", "w", "bias"] };
const gradient: ShortConvGradParams = { layout: "bld", silu: false, inputs: ["x", "w", "bias", "dy"] };

export const bench: readonly BenchCase[] = [
  benchCase("short convolution, 3 taps", shortConvOp, params, forward(128, 128, 384), forward(2, 33, 45)),
  benchCase(
    "short convolution gradient, 3 taps",
    shortConvGradOp,
    gradient,
    backward(128, 128, 384),
    backward(2, 33, 45),
  ),
];
