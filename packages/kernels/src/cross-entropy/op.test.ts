import { expect, test } from "vitest";
import { tensor, withDevice } from "@everlong/core";
import { checkOp, integers, positive } from "@everlong/testing";
import {
  crossEntropy,
  crossEntropyGradOp,
  crossEntropyOp,
  meanCrossEntropyGradOp,
  meanCrossEntropyOp,
} from "./op.ts";

const targets = (shape: number[], classes: number) => ({
  shape,
  dtype: "i32" as const,
  sample: integers(0, classes),
});
const mixed = { shape: [5], dtype: "i32" as const, values: [0, 16, -100, 3, -100] };
const plain = { ignoreIndex: -100, labelSmoothing: 0 };

checkOp(crossEntropyOp, {
  cases: [
    { inputs: [[3, 7], targets([3], 7)], params: plain },
    { inputs: [[2, 3, 33], targets([2, 3], 33)], params: { ignoreIndex: 2, labelSmoothing: 0.1 } },
    { inputs: [[5, 17], mixed], params: { ignoreIndex: -100, labelSmoothing: 0.3 } },
  ],
  secondOrder: true,
});

checkOp(crossEntropyGradOp, {
  cases: [{ inputs: [[5, 17], mixed, [5], [5]], params: { ignoreIndex: -100, labelSmoothing: 0.2 } }],
  secondOrder: true,
});

checkOp(meanCrossEntropyOp, {
  cases: [
    { inputs: [[3, 7], targets([3], 7)], params: plain },
    { inputs: [[2, 3, 33], targets([2, 3], 33)], params: { ignoreIndex: 2, labelSmoothing: 0.1 } },
    { inputs: [[5, 17], mixed], params: { ignoreIndex: -100, labelSmoothing: 0.3 } },
  ],
  dtypes: ["f32", "bf16"],
  strict: false,
  secondOrder: true,
});

const one = { shape: [], sample: positive };
checkOp(meanCrossEntropyGradOp, {
  cases: [{ inputs: [[5, 17], mixed, [5], one, one], params: { ignoreIndex: -100, labelSmoothing: 0.2 } }],
  strict: false,
});

test("the mean counts what is not ignored; a foreign target is NaN, not a wrong number", () =>
  withDevice("reference", async () => {
    const logits = tensor([
      [0, 0],
      [1, -1],
      [5, 5],
    ]);
    const loss = crossEntropy(logits, tensor([0, -100, 1], { dtype: "i32" }));
    expect(await loss.item()).toBeCloseTo(Math.LN2, 12);
    const foreign = crossEntropy(logits, tensor([0, 2, 1], { dtype: "i32" }), { reduction: "none" });
    expect(await foreign.toArray()).toEqual([
      expect.closeTo(Math.LN2, 12),
      NaN,
      expect.closeTo(Math.LN2, 12),
    ]);
    expect(await crossEntropy(logits, tensor([-100, -100, -100], { dtype: "i32" })).item()).toBeNaN();
    expect(() => crossEntropy(logits, tensor([0.5, 1, 1]))).toThrow(/targets are class numbers/);
    expect(() => crossEntropy(logits, tensor([0], { dtype: "i32" }))).toThrow(/targets has the wrong shape/);
    expect(() => crossEntropy(logits, tensor([0, 0, 0], { dtype: "i32" }), { labelSmoothing: 1 })).toThrow(
      /labelSmoothing/,
    );
  }));
