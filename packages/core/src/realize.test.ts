import { expect, test } from "vitest";
import { valuesOf } from "@everlong/testing";
import { compile } from "./compile.ts";
import { scan } from "./ops/control.ts";
import { full, iota, tensor } from "./ops/creation.ts";
import { add, div, maximum, mul } from "./ops/elementwise.ts";
import { flip, pad, permute } from "./ops/movement.ts";
import { sum } from "./ops/reduction.ts";
import { device, setDefaultDevice } from "./settings.ts";
import type { Tensor } from "./tensor.ts";

setDefaultDevice(device("reference"));
const values = async (t: Tensor): Promise<number[]> => [...(await valuesOf(t))];

test("graphs that differ in one number are not taken for each other", async () => {
  for (const value of [0, -0, 1, -1, Infinity, -Infinity, NaN, 0]) {
    expect(await values(div(full([1], 1), full([1], value)))).toEqual([1 / value]);
    expect(await values(pad(tensor([1]), [[1, 0]], value))).toEqual([value, 1]);
  }
});

test("graphs that differ in an axis, a body or an op are not taken for each other", async () => {
  const x = add(iota([2, 3], 0), mul(iota([2, 3], 1), 10));
  expect(await values(sum(x, 0))).toEqual([1, 21, 41]);
  expect(await values(sum(x, 1))).toEqual([30, 33]);
  expect(await values(flip(x, 0))).toEqual([1, 11, 21, 0, 10, 20]);
  expect(await values(flip(x, 1))).toEqual([20, 10, 0, 21, 11, 1]);
  expect(await values(permute(x, [1, 0]))).toEqual([0, 1, 10, 11, 20, 21]);
  const [start, xs] = [tensor([2]), tensor([3, 4], [2, 1])];
  for (const [fn, result] of [
    [add, 9],
    [mul, 24],
    [maximum, 4],
  ] as const) {
    const [last] = scan((c: Tensor, y: Tensor) => [fn(c, y), null] as const, start, xs);
    expect(await values(last)).toEqual([result]);
  }
});

test("zeros among plain arguments keep their sign", async () => {
  const over = compile((x: Tensor, zero: number) => div(x, full([1], zero)));
  for (const zero of [0, -0, 0]) expect(await values(over(tensor([2]), zero))).toEqual([2 / zero]);
});
