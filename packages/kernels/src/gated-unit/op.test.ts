import { expect, test } from "vitest";
import { cast, gradients, iota, mul, sin, stack, sum, vmap, withDevice, type Tensor } from "@everlong/core";
import { checkOp } from "@everlong/testing";
import type { GateActivation } from "../gate/op.ts";
import { mixedPrecision } from "../precision.ts";
import { gatedUnit, gatedUnitGradOp, gatedUnitOp } from "./op.ts";

const activations: readonly GateActivation[] = ["silu", "gelu", "gelu-tanh"];

/** Groups, rows, inputs, hidden features, results. */
type Sizes = readonly [number, number, number, number, number];
const shapes = ([g, m, d, f, n]: Sizes, isGrad: boolean): number[][] => [
  [g, m, d],
  [g, f, d],
  [g, f, d],
  [g, n, f],
  ...(isGrad ? [[g, m, n]] : []),
];
// Rows and hidden features that are no multiples of what a block takes; widths that stay in registers and one that does not.
const sizes: readonly Sizes[] = [
  [1, 5, 16, 8, 16],
  [2, 37, 16, 40, 16],
  [1, 5, 16, 24, 144],
];

checkOp(gatedUnitOp, {
  cases: sizes.map((s, i) => ({ inputs: shapes(s, false), params: { activation: activations[i]! } })),
  dtypes: ["f32", "bf16"],
  strict: false,
});

checkOp(gatedUnitGradOp, {
  cases: sizes.map((s, i) => ({ inputs: shapes(s, true), params: { activation: activations[i]! } })),
  differentiable: false,
  dtypes: ["f32", "bf16"],
  strict: false,
});

const values = (shape: readonly number[], from: number): Tensor =>
  mul(sin(mul(iota([shape.reduce((a, b) => a * b, 1)], 0).add(from), 1.3)).reshape([...shape]), 0.5);

test("examples with weights of their own, or some of them, equal calls of their own", () =>
  withDevice("reference", async () => {
    const inputs = shapes([2, 5, 16, 8, 16], false).map((shape, i) =>
      [0, 1, 2].map((s) => cast(values(shape, 7 * i + s), "f64")),
    );
    for (const mapped of [
      [true, true, true, true],
      [true, false, false, false],
      [false, true, false, true],
    ]) {
      const one = (...given: Tensor[]): Tensor[] => {
        const all = inputs.map((list, i) => (mapped[i] ? given.shift()! : list[0]!));
        const [y] = gatedUnitOp(all, { activation: "silu" });
        return [y!, ...gradients(sum(mul(y!, y!)), all)];
      };
      const own = inputs.filter((_, i) => mapped[i]);
      const together = vmap(one)(...own.map((list) => stack(list)));
      const apart = [0, 1, 2].map((s) => one(...own.map((list) => list[s]!)));
      for (const [k, t] of together.entries()) {
        const [got, want] = [await t.data(), await stack(apart.map((a) => a[k]!)).data()];
        for (let i = 0; i < got.length; i++) expect(got[i]).toBeCloseTo(want[i] as number, 10);
      }
    }
  }));

test("the call and its layers agree in mixed precision; what does not fit goes through the layers", () =>
  withDevice("reference", async () => {
    const run = (dim: number, inner: number): Promise<ArrayLike<number>> => {
      const single = (shape: number[], from: number): Tensor => cast(values(shape, from), "f32");
      const x = single([3, 4, dim], 1);
      const weights = [single([inner, dim], 2), single([inner, dim], 3), single([dim, inner], 4)] as const;
      const full = (): Tensor => {
        const hidden = (w: Tensor): Tensor => x.matmul(w.transpose());
        return hidden(weights[0]).silu().mul(hidden(weights[1])).matmul(weights[2].transpose());
      };
      const y = mixedPrecision({ dtype: "bf16" }, () => gatedUnit(x, weights));
      expect(y.shape).toEqual([3, 4, dim]);
      return mul(cast(y, "f32").sub(full()).square().sum().div(full().square().sum()), 1).data();
    };
    for (const [dim, inner] of [
      [16, 8],
      [16, 12],
      [20, 8],
    ] as const)
      expect(Math.sqrt((await run(dim, inner))[0]!)).toBeLessThan(2e-2);
  }));
