import { expect, test } from "vitest";
import { ones, tensor, withDevice } from "@everlong/core";
import { checkOp, integers } from "@everlong/testing";
import { embedding, embeddingGradOp, embeddingOp } from "./op.ts";

const ids = (n: number, rows: number) => ({ shape: [n], dtype: "i32" as const, sample: integers(0, rows) });
checkOp(embeddingOp, {
  cases: [
    { inputs: [[5, 3], ids(7, 5)], params: {} },
    { inputs: [[2, 17], ids(1, 2)], params: {} },
    { inputs: [[3, 9], { shape: [4], dtype: "i32", values: [-4, 0, 2, 9] }], params: {} },
  ],
  secondOrder: true,
});
checkOp(embeddingGradOp, {
  cases: [
    { inputs: [ids(7, 5), [7, 3]], params: { rows: 5 } },
    { inputs: [ids(300, 9), [300, 17]], params: { rows: 11 } },
  ],
  secondOrder: true,
});

test("ids of any rank; floats are refused", () =>
  withDevice("reference", async () => {
    const table = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(await embedding(table, tensor([[1], [0]], { dtype: "i32" })).toArray()).toEqual([
      [[3, 4]],
      [[1, 2]],
    ]);
    expect(() => embedding(table, ones([2]))).toThrow(/ids are row numbers/);
  }));
