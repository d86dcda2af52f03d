import { expect, test } from "vitest";
import { ones, tensor, withDevice } from "@everlong/core";
import { checkOp } from "@everlong/testing";
import { ACTIVATIONS, linear, linearOp, type LinearInput } from "./op.ts";
import { erf } from "./erf.ts";

const all: readonly LinearInput[] = ["x", "w", "bias"];
checkOp(linearOp, {
  cases: [
    ...ACTIVATIONS.map((activation) => ({
      inputs: [[3, 5], [7, 5], [7]],
      params: { activation, inputs: all },
    })),
    {
      inputs: [
        [9, 33],
        [17, 33],
      ],
      params: { activation: "none" as const, inputs: ["x", "w"] as const },
    },
    {
      inputs: [
        [4, 3],
        [6, 3],
      ],
      params: { activation: "gelu" as const, inputs: ["x", "w"] as const },
    },
  ],
  secondOrder: true,
});

test("rows of any rank; a transposed weight is named", () =>
  withDevice("reference", async () => {
    const y = linear(
      ones([2, 1, 3]),
      tensor([
        [1, 2, 3],
        [0, 0, 1],
      ]),
      tensor([10, 20]),
    );
    expect(await y.toArray()).toEqual([[[16, 21]], [[16, 21]]]);
    expect(() => linear(ones([2, 3]), ones([3, 4]))).toThrow(/The weight is \[N, K\]: transpose it/);
    expect(() => linear(ones([2, 3]), ones([4, 3]), undefined, { activation: "swish" as never })).toThrow(
      /unknown activation/,
    );
  }));

test("erf at published values (Abramowitz & Stegun, table 7.1)", () => {
  const table: [number, number][] = [
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [2, 0.9953222650189527],
  ];
  for (const [x, y] of table) {
    expect(erf(x)).toBeCloseTo(y, 15);
    expect(erf(-x)).toBeCloseTo(-y, 15);
  }
  // both branches meet
  expect(erf(2.5 + 1e-12) - erf(2.5 - 1e-12)).toBeLessThan(1e-14);
  expect([erf(0), erf(Infinity), erf(NaN)]).toEqual([0, 1, NaN]);
});
