import { abs, gradients, max, narrow, random, softmax, sub, sum, tensor, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { MoeMlp } from "./moe-mlp.ts";
import { expertWeights } from "./router.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);
const scores = tensor([
  [1, 3, 2, -1],
  [0, 0, -1, 5],
]);

test("only the best experts have weight; in mad-lab all have", async () => {
  const all = Array.from(await expertWeights(scores, 2, false).data(), Number);
  const [a, b] = [all.slice(0, 4), all.slice(4)];
  expect(a).toEqual([0, 1 / (1 + Math.exp(-1)), expect.closeTo(1 / (1 + Math.E), 12), 0]);
  // A tie with the last selected is kept.
  expect(b.map((p) => p > 0)).toEqual([true, true, false, true]);
  const soft = await expertWeights(scores, 2, true).data();
  expect(
    await distance(
      expertWeights(scores, 2, true),
      softmax(
        tensor([
          [0, 3, 2, 0],
          [0, 0, 0, 5],
        ]),
      ),
    ),
  ).toBe(0);
  expect(Math.min(...Array.from(soft, Number))).toBeGreaterThan(0);
});

test("all experts active is a plain softmax", async () => {
  expect(await distance(expertWeights(scores, 4, false), softmax(scores))).toBe(0);
});

test("an expert stands by itself; in mad-lab every output sees every expert", async () => {
  const x = sample(1, 1, 1, 6);
  const leak = async (compat: readonly ("shared-down" | "soft-unselected")[]): Promise<number> => {
    const layer = new MoeMlp({ key: random.key(2), dim: 6, inner: 3, experts: 4, active: 1, compat });
    const chosen = await expertWeights(layer.router.forward(x), 1, false).reshape([4]).data();
    const idle = Array.from(chosen, Number).indexOf(0);
    const [g] = gradients(sum(layer.forward(x)), [layer.up1.weight.value]);
    return (await max(abs(narrow(g!, 0, 3 * idle, 3 * idle + 3))).item()) as number;
  };
  expect(await leak([])).toBe(0);
  expect(await leak(["shared-down"])).toBeGreaterThan(1e-3);
  expect(await leak(["soft-unselected"])).toBeGreaterThan(1e-3);
});

test("wrong numbers of experts", () => {
  const of = (active: number): unknown => new MoeMlp({ key: random.key(0), dim: 4, experts: 4, active });
  expect(() => of(0)).toThrow(/between 1 and all/);
  expect(() => of(5)).toThrow(/5 of 4/);
});
