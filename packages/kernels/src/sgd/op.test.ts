import { expect, test } from "vitest";
import { tensor, withDevice } from "@everlong/core";
import { checkOp, relativeError, valuesOf } from "@everlong/testing";
import { sgdOp, sgdUpdate } from "./op.ts";

const inputs = (...shape: number[]) => [shape, shape, shape, { shape: [], values: [0.1] }];
checkOp(sgdOp, {
  cases: [
    { inputs: inputs(5), params: { momentum: 0, weightDecay: 0, nesterov: false } },
    { inputs: inputs(3, 7), params: { momentum: 0.9, weightDecay: 0.1, nesterov: false } },
    {
      inputs: [...inputs(3, 5).slice(0, 3), { shape: [3] }, { shape: [] }],
      params: { momentum: 0.9, weightDecay: 0, nesterov: true },
    },
    {
      inputs: [...inputs(2, 3, 7).slice(0, 3), { shape: [] }, { shape: [2] }],
      params: { momentum: 0.9, weightDecay: 0, nesterov: false },
    },
    { inputs: inputs(401), params: { momentum: 0.9, weightDecay: 0.1, nesterov: true } },
  ],
});

test("on a parabola, momentum by hand", () =>
  withDevice("reference", async () => {
    let [x, velocity] = [1, 0];
    let state = { p: tensor([1]), velocity: tensor([0]) };
    for (let t = 0; t < 5; t++) {
      velocity = 0.9 * velocity + 2 * x;
      x -= 0.1 * velocity;
      state = sgdUpdate({ ...state, g: state.p.mul(2) }, tensor(0.1), { momentum: 0.9 });
    }
    expect(relativeError(await valuesOf(state.p), [x])).toBeLessThan(1e-13);
  }));
