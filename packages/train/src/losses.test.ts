import { gradients, tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { binaryCrossEntropy, huber, squaredError } from "./losses.ts";
import { accuracy } from "./metrics.ts";

test("huber is quadratic inside and linear outside", async () => {
  const x = tensor([0.5, -3, 1]);
  const y = tensor([0, 0, 0]);
  expect(await huber(x, y, { reduction: "none" }).toArray()).toEqual([0.125, 2.5, 0.5]);
  expect(await huber(x, y, { delta: 2, reduction: "none" }).toArray()).toEqual([0.125, 4, 0.5]);
  const [g] = gradients(huber(x, y, { reduction: "sum" }), [x]);
  expect(await g!.toArray()).toEqual([0.5, -1, 1]);
});

test("binary cross-entropy does not overflow", async () => {
  const z = tensor([800, -800, 0]);
  const losses = (await binaryCrossEntropy(z, tensor([1, 1, 0.5]), "none").toArray()) as number[];
  expect(losses).toEqual([0, 800, expect.closeTo(Math.log(2), 12)]);
  expect(await squaredError(tensor([1, 3]), tensor([0, 1])).item()).toBe(2.5);
});

test("accuracy leaves out ignored rows", async () => {
  const logits = tensor([
    [1, 2],
    [3, 0],
    [0, 1],
  ]);
  expect(await accuracy(logits, tensor([1, 1, -100], { dtype: "i32" })).item()).toBe(0.5);
});
