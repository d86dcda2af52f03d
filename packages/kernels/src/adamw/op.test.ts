import { expect, test } from "vitest";
import { tensor, withDevice } from "@everlong/core";
import { checkOp, positive, relativeError, uniform, valuesOf } from "@everlong/testing";
import { adamwOp, adamwUpdate } from "./op.ts";

const inputs = (...shape: number[]) => [
  shape,
  shape,
  shape,
  { shape, sample: positive },
  { shape: [], sample: uniform(0.001, 0.01) },
  { shape: [], values: [3] },
];
const params = { beta1: 0.9, beta2: 0.98, eps: 1e-8, weightDecay: 0.1 };
const settings = (rate: number[], step: number[], decay: number[]) => [
  { shape: rate, sample: uniform(0.001, 0.01) },
  { shape: step, values: [3, 1, 70, 2, 1000] },
  { shape: decay, sample: uniform(0, 0.5) },
];
checkOp(adamwOp, {
  cases: [
    { inputs: inputs(5), params },
    { inputs: inputs(3, 7), params },
    { inputs: inputs(401), params },
    // One rate, step and decay for each slice, or for all.
    { inputs: [...inputs(3, 5).slice(0, 4), ...settings([3], [3], [])], params },
    { inputs: [...inputs(2, 3, 7).slice(0, 4), ...settings([], [2], [2])], params },
    { inputs: [...inputs(5).slice(0, 4), ...settings([5], [], [5])], params },
  ],
});

test("three steps by hand (Loshchilov & Hutter 2019, algorithm 2)", () =>
  withDevice("reference", async () => {
    let [p, m, v] = [
      [1, -2],
      [0, 0],
      [0, 0],
    ] as number[][] as [number[], number[], number[]];
    let state = { p: tensor(p), m: tensor(m), v: tensor(v) };
    for (let t = 1; t <= 3; t++) {
      const g = [0.1 * t, -0.3];
      const [rate, decay] = [0.01 * t, 0.05];
      m = m.map((x, i) => 0.9 * x + 0.1 * g[i]!);
      v = v.map((x, i) => 0.999 * x + 0.001 * g[i]! ** 2);
      p = p.map((x, i) => {
        const [mHat, vHat] = [m[i]! / (1 - 0.9 ** t), v[i]! / (1 - 0.999 ** t)];
        return x - rate * (mHat / (Math.sqrt(vHat) + 1e-8) + decay * x);
      });
      state = adamwUpdate({ ...state, g: tensor(g) }, tensor(rate), tensor(t), { weightDecay: decay });
    }
    expect(relativeError(await valuesOf(state.p), p)).toBeLessThan(1e-12);
    expect(relativeError(await valuesOf(state.v), v)).toBeLessThan(1e-12);
    expect(() =>
      adamwUpdate({ ...state, g: tensor([1, 1]) }, tensor(1), tensor(1), { betas: [1, 0.9] }),
    ).toThrow(/betas/);
  }));
