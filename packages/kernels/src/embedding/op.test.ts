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

// Sizes that a GPU sorts: numbers of one and of two digits, lists of one and of two segments, rows with many places and with none.
const given = (values: readonly number[]) => ({ shape: [values.length], dtype: "i32" as const, values });
const counted = (n: number, id: (i: number) => number) => given(Array.from({ length: n }, (_, i) => id(i)));
checkOp(embeddingGradOp, {
  cases: [
    { inputs: [ids(251, 2103), [251, 5]], params: { rows: 2103 } },
    { inputs: [ids(2501, 701), [2501, 3]], params: { rows: 701 } },
    { inputs: [counted(1501, () => 77), [1501, 12]], params: { rows: 131 } },
    { inputs: [counted(1100, (i) => 1040 - i), [1100, 4]], params: { rows: 1031 } },
    { inputs: [counted(1030, (i) => (i % 3 ? i % 7 : 140 - i)), [1030, 35]], params: { rows: 130 } },
    { inputs: [given([-9, 200, 199, 3, 2100, 3]), [6, 13]], params: { rows: 200 } },
  ],
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
