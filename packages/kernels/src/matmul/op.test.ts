import { expect, test } from "vitest";
import {
  add,
  cast,
  iota,
  mul,
  ones,
  sin,
  stack,
  tensor,
  vmap,
  withDevice,
  type Tensor,
} from "@everlong/core";
import { checkOp } from "@everlong/testing";
import { ACTIVATIONS, linear, linearOp, linearWeightGradOp, type LinearInput } from "./op.ts";
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

test("half-precision layers: examples with weights of their own equal calls of their own", () =>
  withDevice("reference", async () => {
    const part = (shape: number[], from: number): Tensor =>
      cast(sin(mul(add(iota([...shape], shape.length - 1), from), 1.7)), "bf16");
    for (const activation of ["none", "silu"] as const) {
      const one = (x: Tensor, w: Tensor, bias: Tensor): Tensor =>
        linearOp([x, w, bias], { activation, inputs: all })[0]!;
      const xs = [0, 1, 2].map((s) => part([4, 8], s));
      const ws = [0, 1, 2].map((s) => part([6, 8], 10 + s));
      const bs = [0, 1, 2].map((s) => part([6], 20 + s));
      const together = vmap(one)(stack(xs), stack(ws), stack(bs));
      const apart = stack(xs.map((x, i) => one(x, ws[i]!, bs[i]!)));
      const [a, b] = [await cast(together, "f32").data(), await cast(apart, "f32").data()];
      // The product is rounded before its bias joins.
      for (let i = 0; i < a.length; i++) expect(Math.abs(a[i]! - b[i]!)).toBeLessThanOrEqual(0.02);
    }
  }));

checkOp(linearWeightGradOp, {
  cases: [
    {
      inputs: [
        [9, 5],
        [9, 7],
      ],
      params: { bias: true },
    },
    {
      inputs: [
        [4, 3],
        [4, 6],
      ],
      params: { bias: false },
    },
    {
      inputs: [
        [3, 35, 16],
        [3, 35, 24],
      ],
      params: { bias: true },
    },
  ],
  dtypes: ["f32", "bf16"],
  strict: false,
  secondOrder: true,
});
