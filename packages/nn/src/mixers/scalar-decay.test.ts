import {
  abs,
  gradients,
  max,
  mul,
  neg,
  random,
  repeat,
  softplus,
  sub,
  sum,
  type Tensor,
} from "@everlong/core";
import { gatedLinearAttention } from "@everlong/kernels";
import { describe, expect, test } from "vitest";
import { Mamba2 } from "./mamba2.ts";
import { Retention } from "./retention.ts";
import { scalarDecayAttention } from "./scalar-decay.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);

describe.each([1, 3, 64, 65, 130])("time %i", (time) => {
  test.each([1, 2, 4])("chunks equal positions one by one, %i groups", async (groups) => {
    const [q, k] = [sample(1, 2, time, groups, 3), sample(2, 2, time, groups, 3)];
    const v = sample(3, 2, time, 4, 5);
    const g = neg(softplus(sample(4, 2, time, 4)));
    const initial = sample(5, 2, 4, 3, 5);
    const one = scalarDecayAttention(q, k, v, g, { form: "recurrent", initial });
    const many = scalarDecayAttention(q, k, v, g, { initial });
    expect(await distance(one.y, many.y)).toBeLessThan(1e-12);
    expect(await distance(one.state, many.state)).toBeLessThan(1e-12);
  });
});

test("equals gated linear attention with the decay repeated, gradients too", async () => {
  const time = 45;
  const [q, k, v] = [sample(6, 1, time, 2, 3), sample(7, 1, time, 2, 3), sample(8, 1, time, 2, 4)];
  const g = neg(softplus(sample(9, 1, time, 2)));
  const probe = sample(10, 1, time, 2, 4);
  const wrt = [q, k, v, g];
  const ours = scalarDecayAttention(q, k, v, g, { chunk: 16 });
  const kernel = gatedLinearAttention(q, k, v, { logDecay: repeat(g.unsqueeze(-1), 3, -1), scale: 1 });
  expect(await distance(ours.y, kernel.y)).toBeLessThan(1e-12);
  expect(await distance(ours.state, kernel.state)).toBeLessThan(1e-12);
  const [a, b] = [ours.y, kernel.y].map((y) => gradients(sum(mul(y, probe)), wrt));
  for (const [i, t] of a!.entries()) expect(await distance(t, b![i]!)).toBeLessThan(1e-11);
});

test("strong decays neither overflow nor vanish into NaN", async () => {
  const time = 70;
  const g = sample(11, 1, time, 1).mul(0).sub(60);
  const [q, k, v] = [sample(12, 1, time, 1, 2), sample(13, 1, time, 1, 2), sample(14, 1, time, 1, 2)];
  const { y } = scalarDecayAttention(q, k, v, g);
  const alone = mul(sum(mul(q, k), -1, { keepDims: true }), v);
  expect(await distance(y, alone)).toBeLessThan(1e-12);
  const [dg] = gradients(sum(y), [g]);
  expect(Number.isFinite(await sum(dg!).item())).toBe(true);
});

test("retention forgets at 1 - 2^(-5 - head)", async () => {
  const layer = new Retention({ key: random.key(1), dim: 8, heads: 2, rotary: false });
  const x = sample(15, 1, 2, 8);
  const { state } = layer.prefill(x, { capacity: 2 });
  const first = layer.prefill(x.narrow(1, 0, 1), { capacity: 2 }).state["memory"]!;
  const second = layer.prefill(x.narrow(1, 1, 2), { capacity: 2 }).state["memory"]!;
  for (const h of [0, 1]) {
    const at = (t: Tensor): Tensor => t.slice([0, h]);
    const wanted = at(first)
      .mul(1 - 2 ** (-5 - h))
      .add(at(second));
    expect(await distance(at(state["memory"]!), wanted)).toBeLessThan(1e-14);
  }
});

test("retention with rotary depends on distances only", async () => {
  const layer = new Retention({ key: random.key(2), dim: 8, heads: 2 });
  const x = sample(16, 1, 9, 8);
  const positions = (from: number): Tensor =>
    random
      .uniform(random.key(0), [9])
      .mul(0)
      .add(1)
      .cumsum(0)
      .add(from - 1)
      .cast("i32");
  const there = layer.forward(x, { positions: positions(1000) });
  expect(await distance(there, layer.forward(x, { positions: positions(0) }))).toBeLessThan(1e-11);
});

test.each([1, 2, 4])("Mamba 2 with %i groups steps as it computes at once", async (groups) => {
  const layer = new Mamba2({ key: random.key(3), dim: 8, headSize: 4, stateSize: 3, groups });
  const x = sample(17, 2, 9, 8);
  const whole = layer.forward(x);
  let { state } = layer.prefill(x.narrow(1, 0, 2), { capacity: 9 });
  for (let t = 2; t < 9; t++) {
    const next = layer.step(x.slice([null, t]), state);
    expect(await distance(next.y, whole.slice([null, t]))).toBeLessThan(1e-12);
    state = next.state;
  }
});

test("wrong heads", () => {
  expect(() => new Mamba2({ key: random.key(0), dim: 8, headSize: 5 })).toThrow(/heads must be whole/);
  expect(() => new Mamba2({ key: random.key(0), dim: 8, headSize: 4, groups: 3 })).toThrow(/groups divide/);
  expect(() => new Retention({ key: random.key(0), dim: 12, heads: 4 })).toThrow(/even size/);
});
