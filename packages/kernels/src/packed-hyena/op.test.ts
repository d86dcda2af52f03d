import { expect, test } from "vitest";
import { ones, withDevice } from "@everlong/core";
import { checkOp } from "@everlong/testing";
import { packedHyena, packedHyenaGradOp, packedHyenaOp, type PackedHyenaInput } from "./op.ts";

const names: readonly PackedHyenaInput[] = ["u", "k", "skip"];

checkOp(packedHyenaOp, {
  cases: [
    {
      inputs: [
        [2, 5, 12],
        [5, 4],
      ],
      params: { inputs: ["u", "k"] },
    },
    { inputs: [[3, 9, 6], [9, 2], [2]], params: { inputs: names } },
    { inputs: [[1, 7, 9], [3, 3], [3]], params: { inputs: names } },
  ],
  strict: false,
  tolerance: { f32: { value: 2e-6, gradient: 1e-5 } },
});

checkOp(packedHyenaGradOp, {
  cases: [
    { inputs: [[2, 6, 9], [6, 3], [3], [2, 6, 3]], params: { inputs: [...names, "dy"] } },
    {
      inputs: [
        [2, 6, 9],
        [4, 3],
        [2, 6, 3],
      ],
      params: { inputs: ["u", "k", "dy"] },
    },
  ],
  differentiable: false,
  strict: false,
  tolerance: { f32: { value: 1e-5, gradient: 1e-5 } },
});

test("widths that three parts do not divide and longer filters are refused", () =>
  withDevice("reference", () => {
    expect(() => packedHyena(ones([1, 4, 8]), ones([4, 2]))).toThrow(/three parts do not divide the width/);
    expect(() => packedHyena(ones([1, 4, 6]), ones([5, 2]))).toThrow(
      /the filter is longer than the sequence/,
    );
  }));
