import { expect, test } from "vitest";
import { gradients, mul, sum, tensor, withDevice, type Tensor } from "@everlong/core";
import { Random, checkOp, relativeError, valuesOf } from "@everlong/testing";
import { lowFrequencyByWaves } from "./decompose.ts";
import { lowFrequencyConvOp, type LowFrequencyConvInput } from "./op.ts";

const gated: readonly LowFrequencyConvInput[] = ["u", "k", "preGate", "postGate"];

checkOp(lowFrequencyConvOp, {
  cases: [
    {
      inputs: [
        [2, 3, 9],
        [3, 7],
        [2, 3, 9],
        [2, 3, 9],
      ],
      params: { layout: "bdl", bins: 4, adjoint: false, inputs: gated },
    },
    {
      inputs: [
        [2, 8, 3],
        [8, 3],
        [2, 8, 3],
        [2, 8, 3],
      ],
      params: { layout: "bld", bins: 3, adjoint: true, inputs: gated },
    },
  ],
  batch: [true, true, true, true],
  secondOrder: true,
  gradcheck: 1e-6,
});

test("out of dense convolutions it is the same, either way, with its gradients", () =>
  withDevice("reference", async () => {
    const sample = (seed: number, ...shape: number[]): Tensor =>
      tensor(new Random(seed).normals(shape.reduce((a, b) => a * b, 1)), shape);
    const [u, k, w] = [sample(1, 2, 3, 21), sample(2, 3, 15), sample(3, 2, 3, 21)];
    for (const adjoint of [false, true]) {
      const params = { layout: "bdl", bins: 6, adjoint, inputs: ["u", "k"] } as const;
      const [mine, waves] = [lowFrequencyConvOp, lowFrequencyByWaves].map(
        (f) => (x: Tensor, filter: Tensor) => f([x, filter], params)[0]!,
      );
      const both = async (a: Tensor, b: Tensor): Promise<void> =>
        expect(relativeError(await valuesOf(a), await valuesOf(b))).toBeLessThan(1e-12);
      await both(mine!(u, k), waves!(u, k));
      const grads = (f: typeof mine): Tensor[] => gradients(sum(mul(f!(u, k), w)), [u, k]);
      for (const [i, g] of grads(mine).entries()) await both(g, grads(waves)[i]!);
    }
  }));
