import { expect, test } from "vitest";
import { tensor, vmap, withDevice, type Tensor } from "@everlong/core";
import { checkOp } from "@everlong/testing";
import { scaledAll, scaledAllOp } from "./op.ts";

checkOp(scaledAllOp, {
  cases: [
    { inputs: [[], [3, 5], [7]], params: {} },
    { inputs: [[3], [3, 5], [3, 2, 4]], params: {} },
  ],
  batch: false,
  strict: false,
  secondOrder: true,
});

test("examples have factors of their own", () =>
  withDevice("reference", async () => {
    const xs = tensor([
      [1, 2],
      [3, 4],
    ]);
    const ys = vmap((x: Tensor, f: Tensor) => scaledAll([x], f)[0]!)(xs, tensor([10, 100]));
    expect(await ys.toArray()).toEqual([
      [10, 20],
      [300, 400],
    ]);
    expect(scaledAll([], tensor(2))).toEqual([]);
  }));
