import { abs, max, random, softplus, sub, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { resetLinears } from "../backbones/block.ts";
import { Mamba } from "./mamba.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;

test("initial steps lie in their range, whatever a backbone resets", async () => {
  const layer = new Mamba({ key: random.key(1), dim: 32, minStep: 0.01, maxStep: 0.2 });
  resetLinears(layer);
  const steps = Array.from(await softplus(layer.dtProj.bias!.value).data(), Number);
  expect(Math.min(...steps)).toBeGreaterThanOrEqual(0.01 - 1e-12);
  expect(Math.max(...steps)).toBeLessThanOrEqual(0.2 + 1e-12);
  expect(Math.max(...steps) / Math.min(...steps)).toBeGreaterThan(3);
});

test("states start at rates 1 to N", async () => {
  const layer = new Mamba({ key: random.key(2), dim: 4, stateSize: 3 });
  const rates = Array.from(await layer.aLog.value.exp().slice([5]).data(), Number);
  rates.forEach((r, i) => expect(r).toBeCloseTo(i + 1, 12));
});

test("steps from an empty prompt's state are the whole", async () => {
  const layer = new Mamba({
    key: random.key(3),
    dim: 6,
    bias: true,
    convBias: false,
    expand: 3,
    stepRank: 2,
  });
  const x = random.normal(random.key(4), [2, 11, 6]);
  const whole = layer.forward(x);
  let { y, state } = layer.prefill(x.narrow(1, 0, 1), { capacity: 11 });
  expect(await distance(y.slice([null, 0]), whole.slice([null, 0]))).toBeLessThan(1e-13);
  for (let t = 1; t < 11; t++) {
    ({ y, state } = layer.step(x.slice([null, t]), state));
    expect(await distance(y, whole.slice([null, t]))).toBeLessThan(1e-13);
  }
});

test("wrong options", () => {
  expect(() => new Mamba({ key: random.key(0), dim: 4, minStep: 1, maxStep: 0.1 })).toThrow(/minStep/);
  expect(() => new Mamba({ key: random.key(0), dim: 4, stateSize: 0 })).toThrow(/stateSize/);
});
