import { abs, exp, max, mul, neg, random, reshape, softplus, sub, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { GatedLinearAttention } from "./gated-linear-attention.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;

test("the memory decays by sigmoid(logit)^(1/16)", async () => {
  const layer = new GatedLinearAttention({ key: random.key(1), dim: 4, heads: 2 });
  const x = random.normal(random.key(2), [1, 2, 4]);
  const memory = (t: Tensor): Tensor => layer.prefill(t, { capacity: 2 }).state["memory"]!;
  const [first, second] = [x.narrow(1, 0, 1), x.narrow(1, 1, 2)];
  const logits = layer.gkProj[1].forward(layer.gkProj[0].forward(second));
  const decay = reshape(exp(neg(softplus(neg(logits))).div(16)), [1, 2, 2, 1]);
  expect(await distance(memory(x), mul(memory(first), decay).add(memory(second)))).toBeLessThan(1e-14);
});

test("decays have a lower limit", async () => {
  const build = (minLogDecay?: number): GatedLinearAttention =>
    new GatedLinearAttention({
      key: random.key(3),
      dim: 4,
      gateNormalizer: 0.1,
      ...(minLogDecay === undefined ? {} : { minLogDecay }),
    });
  const x = random.normal(random.key(4), [1, 9, 4]);
  expect(await distance(build().forward(x), build(-1000).forward(x))).toBe(0);
  expect(await distance(build().forward(x), build(-0.1).forward(x))).toBeGreaterThan(1e-4);
});

test("wrong options", () => {
  const of = (more: object): unknown => new GatedLinearAttention({ key: random.key(0), dim: 8, ...more });
  expect(() => of({ heads: 3 })).toThrow(/do not divide/);
  expect(() => of({ gateNormalizer: 0 })).toThrow(/must be positive/);
  expect(() => of({ gate: "wings" })).toThrow(/unknown activation/);
});
