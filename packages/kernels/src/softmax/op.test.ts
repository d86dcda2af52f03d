import * as fc from "fast-check";
import { expect, test } from "vitest";
import { tensor, withDevice } from "@everlong/core";
import { checkOp } from "@everlong/testing";
import { rowSoftmax, softmaxGradOp, softmaxOp } from "./op.ts";

const rows = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 40 })).map((s) => [...s]);

checkOp(softmaxOp, {
  cases: [
    { inputs: [[7]], params: {} },
    { inputs: [[3, 129]], params: {} },
    { inputs: [[2, 3, 5]], params: {} },
  ],
  arbitrary: rows.map((shape) => ({ inputs: [shape], params: {} })),
  secondOrder: true,
});

checkOp(softmaxGradOp, {
  cases: [
    {
      inputs: [
        [3, 17],
        [3, 17],
      ],
      params: {},
    },
  ],
  secondOrder: true,
});

test("rows of huge and of hidden scores stay finite", () =>
  withDevice("reference", async () => {
    const x = tensor([
      [1e30, 1e30, -1e30],
      [-Infinity, 0, 0],
    ]);
    expect(await rowSoftmax(x).toArray()).toEqual([
      [0.5, 0.5, 0],
      [0, 0.5, 0.5],
    ]);
  }));
