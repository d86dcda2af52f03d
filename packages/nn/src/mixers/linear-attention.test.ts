import {
  abs,
  cumsum,
  div,
  gradients,
  matmul,
  max,
  mul,
  narrow,
  random,
  reshape,
  sub,
  sum,
  transpose,
  type Tensor,
} from "@everlong/core";
import { expect, test } from "vitest";
import { FEATURE_MAPS, makeFeatureMap } from "./feature-map.ts";
import { LinearAttention } from "./linear-attention.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);

test.each(FEATURE_MAPS)("%s: forms agree and steps follow", async (featureMap) => {
  const build = (form: "auto" | "chunked" | "quadratic"): LinearAttention =>
    new LinearAttention({ key: random.key(1), dim: 12, heads: 3, featureMap, expandV: 2, form });
  const x = sample(2, 2, 67, 12);
  const y = build("auto").forward(x);
  expect(await distance(y, build("chunked").forward(x))).toBeLessThan(1e-11);
  expect(await distance(y, build("quadratic").forward(x))).toBeLessThan(1e-11);
  const mixer = build("auto");
  let { state } = mixer.prefill(narrow(x, 1, 0, 64), { capacity: 67 });
  for (let t = 64; t < 67; t++) {
    const next = mixer.step(x.slice([null, t]), state);
    expect(await distance(next.y, y.slice([null, t]))).toBeLessThan(1e-11);
    state = next.state;
  }
});

test("Taylor features multiply to a quadratic of the score", async () => {
  const map = makeFeatureMap("taylor", random.key(0), 5);
  const [q, k] = [sample(3, 7, 5), sample(4, 7, 5)];
  const score = div(matmul(q, transpose(k)), Math.sqrt(5));
  const wanted = score.add(1).add(mul(score, score).div(2));
  expect(map.forward(q).shape).toEqual([7, map.features]);
  expect(await distance(matmul(map.forward(q), transpose(map.forward(k))), wanted)).toBeLessThan(1e-13);
});

test("DPFP keeps both signs apart; mad-lab's does not", async () => {
  const x = sample(5, 1, 4);
  const features = async (negated: boolean): Promise<Float64Array> =>
    (await makeFeatureMap("dpfp", random.key(0), 4, negated).forward(x).data()) as Float64Array;
  expect(Math.min(...(await features(false)))).toBe(0);
  expect(Math.min(...(await features(true)))).toBeLessThan(-1e-4);
});

test("a normaliser near zero blows up the original, not the default", async () => {
  const build = (signed: boolean): LinearAttention =>
    new LinearAttention({
      key: random.key(6),
      dim: 16,
      featureMap: "identity",
      compat: signed ? ["signed-normalizer"] : [],
    });
  // The same inputs; the worst of many positions.
  const x = sample(7, 8, 400, 16);
  const worst = async (signed: boolean): Promise<number> =>
    (await max(abs(build(signed).forward(x))).item()) as number;
  expect(await worst(true)).toBeGreaterThan(10 * (await worst(false)));
});

test("positive maps average the values", async () => {
  const mixer = new LinearAttention({ key: random.key(8), dim: 6, featureMap: "elu" });
  const x = sample(9, 1, 9, 6);
  // Weights f(q_t) . f(k_s) / sum over s: rows sum to 1, so constant values pass through.
  const constant = narrow(x, 1, 0, 1);
  const v = mixer.projV.forward(constant);
  const y = mixer.forward(constant.broadcastTo([1, 9, 6]));
  expect(await distance(y, mixer.outProj.forward(v).broadcastTo([1, 9, 6]))).toBeLessThan(1e-12);
});

test("queries and keys share a tied map", () => {
  const tied = new LinearAttention({ key: random.key(10), dim: 8, tieFeatureMaps: true });
  expect(tied.featureMapQ).toBe(tied.featureMapK);
});

test("unknown maps, forms and heads", () => {
  const of = (more: object): unknown => new LinearAttention({ key: random.key(0), dim: 8, ...more });
  expect(() => of({ featureMap: "cosine" })).toThrow(/unknown feature map "cosine".*hedgehog/);
  expect(() => of({ form: "parallel" })).toThrow(/unknown form/);
  expect(() => of({ heads: 3 })).toThrow(/do not divide/);
});

test("a running normaliser by hand", async () => {
  const mixer = new LinearAttention({ key: random.key(11), dim: 4, featureMap: "relu", normQ: true });
  const x = sample(12, 1, 5, 4);
  const q = mixer.projQ.forward(x).relu();
  const scaled = div(q, sum(q, -1, { keepDims: true }).add(1e-4));
  const k = mixer.projK.forward(x).relu();
  const total = sum(mul(scaled, cumsum(k, 1)), -1, { keepDims: true }).add(1e-12);
  const pairs = mul(matmul(scaled, transpose(k)), lower(5));
  const y = mixer.outProj.forward(div(matmul(pairs, mixer.projV.forward(x)), total));
  expect(await distance(y, mixer.forward(x))).toBeLessThan(1e-12);
  expect(gradients(sum(y), [x])[0]!.shape).toEqual(x.shape);
});

const lower = (n: number): Tensor => {
  const row = random.uniform(random.key(0), [n]).mul(0);
  return reshape(cumsum(row.add(1)), [n, 1])
    .sub(reshape(cumsum(row.add(1)), [1, n]))
    .greaterEqual(0)
    .cast("f64");
};
