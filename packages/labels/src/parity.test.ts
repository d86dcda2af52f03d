import type { ParityTensor } from "@everlong/data";
import { expect, test } from "vitest";
import { parity } from "./parity.ts";

const grid = (rows: readonly (readonly number[])[]): ParityTensor => ({
  shape: [rows.length, rows[0]!.length],
  data: rows.flat(),
});

test("Epoxy's torch version leaves alone what rows of zeros make no number of", () => {
  // Function 1 voted on the training item of zeros; item 2 is one itself.
  const tensors = new Map([
    [
      "in.train_embeddings",
      grid([
        [1, 0],
        [0, 1],
        [0, 0],
      ]),
    ],
    [
      "in.mat_embeddings",
      grid([
        [2, 1],
        [1, 3],
        [0, 0],
      ]),
    ],
    [
      "in.L_train",
      grid([
        [1, 1],
        [-1, -1],
        [0, 1],
      ]),
    ],
    [
      "in.L_mat",
      grid([
        [0, 0],
        [0, -1],
        [0, 0],
      ]),
    ],
  ]);
  const args = { metric: "cosine", methods: ["sklearn", "pytorch"], thresholds: [-2, -2] };
  const results = parity["epoxy.Epoxy"]!({ args, json: {}, tensors }).tensors;
  const votes = (method: string): number[] => Array.from(results.get(`out.${method}`)!.data as Int8Array);
  expect(votes("sklearn")).toEqual([1, 1, -1, -1, 0, 0]);
  expect(votes("pytorch")).toEqual([1, 0, -1, -1, 0, 0]);
});

test.each(Object.keys(parity))("%s names an argument that it does not know", (cls) => {
  const tensors = new Map([["in.L_train", grid([[1, -1, 1]])]]);
  expect(() => parity[cls]!({ args: { m: 3, frobnicate: 3 }, json: {}, tensors })).toThrow(
    cls.startsWith("flying") ? /unknown option "frobnicate"/ : /unknown option "(m|frobnicate)"/,
  );
});
