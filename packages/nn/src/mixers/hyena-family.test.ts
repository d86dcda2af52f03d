import {
  abs,
  concat,
  einsum,
  max,
  mul,
  narrow,
  random,
  reshape,
  sub,
  sum,
  type Tensor,
} from "@everlong/core";
import { expect, test } from "vitest";
import { expertWeights } from "../channel/router.ts";
import { HyenaExperts } from "./hyena-experts.ts";
import { MultiHeadHyena } from "./multi-head-hyena.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);

/** Sums of outer products, written out. */
function byPairs(layer: MultiHeadHyena, x: Tensor): Tensor {
  const [batch, time] = x.shape as [number, number, number];
  const wide = layer.shortFilter.forward(layer.inProj.forward(x).reshape([batch, time, -1]));
  const part = (i: number): Tensor =>
    reshape(narrow(wide, -1, i * layer.inner, (i + 1) * layer.inner), [batch, time, layer.heads, -1]);
  const [q, v, k] = [part(0), part(1), part(2)];
  const taps = layer.filterFn.forward(time);
  const rows = Array.from({ length: time }, (_, t) => {
    const now = mul(outerAt(k, v, t), reshape(layer.filterFn.skip()!, [1, -1, 1, 1]));
    const memory = Array.from({ length: t + 1 }, (_, s) =>
      mul(outerAt(k, v, s), reshape(narrow(taps, 0, t - s, t - s + 1), [1, -1, 1, 1])),
    ).reduce((a, b) => a.add(b), now);
    return einsum("bhkv,bhk->bhv", memory, q.slice([null, t]));
  });
  const y = rows.map((r) => reshape(r, [batch, 1, -1]));
  return layer.outProj.forward(concat(y, 1));
}

const outerAt = (k: Tensor, v: Tensor, t: number): Tensor =>
  einsum("bhk,bhv->bhkv", k.slice([null, t]), v.slice([null, t]));

test.each([1, 2, 4])("%i heads convolve outer products", async (heads) => {
  const layer = new MultiHeadHyena({ key: random.key(1), dim: 8, maxLength: 16, heads, projectionGroups: 1 });
  const x = sample(2, 2, 7, 8);
  expect(layer.filterFn.channels).toBe(heads);
  expect(await distance(layer.forward(x), byPairs(layer, x))).toBeLessThan(1e-12);
});

test("mad-lab takes the number of heads for the size of a head", () => {
  const of = (compat: readonly "swapped-heads"[]): MultiHeadHyena =>
    new MultiHeadHyena({ key: random.key(1), dim: 32, maxLength: 16, heads: 16, compat });
  const [ours, theirs] = [of([]), of(["swapped-heads"])];
  expect([ours.heads, ours.headSize]).toEqual([16, 2]);
  expect([theirs.heads, theirs.headSize]).toEqual([2, 16]);
  expect(theirs.filterFn.channels).toBe(2);
});

test("experts: the router's choice weights channels of experts", async () => {
  const layer = new HyenaExperts({ key: random.key(3), dim: 12, maxLength: 16, experts: 4, active: 1 });
  const x = sample(4, 1, 9, 12);
  // With one active expert the output is that expert's alone.
  const weights = expertWeights(layer.router.forward(x), 1, false);
  expect(await sum(weights).item()).toBeCloseTo(9, 12);
  const soft = new HyenaExperts({
    key: random.key(3),
    dim: 12,
    maxLength: 16,
    experts: 4,
    active: 1,
    compat: ["soft-unselected"],
  });
  expect(await distance(layer.forward(x), soft.forward(x))).toBeGreaterThan(1e-3);
});

test("orders above two", async () => {
  const layer = new HyenaExperts({ key: random.key(5), dim: 8, maxLength: 16, order: 3, experts: 2 });
  expect(layer.filterFn.channels).toBe(16);
  expect(layer.forward(sample(6, 1, 11, 8)).shape).toEqual([1, 11, 8]);
});

test("too long an input is an error, or cut as in mad-lab", () => {
  const x = sample(7, 1, 20, 8);
  const mh = (compat: readonly "truncate"[]): MultiHeadHyena =>
    new MultiHeadHyena({ key: random.key(8), dim: 8, maxLength: 16, heads: 2, compat });
  expect(() => mh([]).forward(x)).toThrow(/longer than maxLength/);
  expect(mh(["truncate"]).forward(x).shape).toEqual([1, 16, 8]);
});
