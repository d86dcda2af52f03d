import { expect, test } from "vitest";
import { ones, withDevice } from "@everlong/core";
import { checkOp, positive } from "@everlong/testing";
import { layerNorm, layerNormGradOp, layerNormOp, type NormGradInput } from "./op.ts";

checkOp(layerNormOp, {
  cases: [
    { inputs: [[3, 7]], params: { eps: 1e-5, inputs: ["x"] } },
    { inputs: [[5, 33], [33]], params: { eps: 1e-3, inputs: ["x", "weight"] } },
    { inputs: [[3, 9], [9]], params: { eps: 1e-5, inputs: ["x", "bias"] } },
    { inputs: [[2, 67, 12], [12], [12]], params: { eps: 1e-5, inputs: ["x", "weight", "bias"] } },
  ],
  secondOrder: true,
});

const names: readonly NormGradInput[] = ["x", "weight", "mean", "rstd", "dy"];
const statistics = { shape: [5], sample: positive };
checkOp(layerNormGradOp, {
  cases: [
    { inputs: [[5, 7], [7], statistics, statistics, [5, 7]], params: { bias: true, inputs: names } },
    {
      inputs: [[5, 8], statistics, statistics, [5, 8]],
      params: { bias: false, inputs: ["x", "mean", "rstd", "dy"] },
    },
    {
      inputs: [[5, 8], statistics, statistics, [5, 8]],
      params: { bias: true, inputs: ["x", "mean", "rstd", "dy"] },
    },
  ],
  secondOrder: true,
});

test("wrong weights and options are refused", () =>
  withDevice("reference", () => {
    expect(() => layerNorm(ones([2, 3]), ones([4]))).toThrow(
      /weight has the wrong shape: expected \[N\] = \[3\], got \[4\]/,
    );
    expect(() => layerNorm(ones([2, 3]), undefined, undefined, { epsilon: 1 } as never)).toThrow(
      /unknown option "epsilon"/,
    );
    expect(() => layerNorm(ones([2, 0]))).toThrow(/at least one element/);
  }));
