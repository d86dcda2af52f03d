import { expect, test } from "vitest";
import { ones, tensor, vmap, withDevice, type Tensor } from "@everlong/core";
import { checkOp } from "@everlong/testing";
import { globalNorm, globalNormOp } from "./op.ts";

checkOp(globalNormOp, {
  cases: [
    { inputs: [[3, 5], [7], []], params: { sliced: false } },
    { inputs: [[4100], [2, 3, 4]], params: { sliced: false } },
    {
      inputs: [
        [3, 5],
        [3, 2, 2],
      ],
      params: { sliced: true },
    },
  ],
  strict: false,
  secondOrder: true,
});

test("examples of a batch have norms of their own", () =>
  withDevice("reference", async () => {
    const xs = tensor([
      [3, 4],
      [6, 8],
    ]);
    const shared = ones([3]);
    const norms = vmap((x: Tensor) => globalNorm([x, shared]))(xs);
    expect(await norms.toArray()).toEqual([Math.sqrt(28), Math.sqrt(103)]);
    expect(() => globalNorm([])).toThrow(/at least one tensor/);
  }));
