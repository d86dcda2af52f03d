import { describe, expect, test } from "vitest";
import { valuesOf } from "@everlong/testing";
import * as random from "./random.ts";
import { ones, tensor } from "./ops/creation.ts";
import { threefry2x32 } from "./reference/threefry.ts";
import { device, setDefaultDevice } from "./settings.ts";
import type { Tensor } from "./tensor.ts";

setDefaultDevice(device("reference"));
const N = 20_000;
const values = async (t: Tensor): Promise<number[]> => [...(await valuesOf(t))];
const moments = (
  x: readonly number[],
): { mean: number; variance: number; skew: number; kurtosis: number } => {
  const mean = x.reduce((s, v) => s + v, 0) / x.length;
  const central = (p: number): number => x.reduce((s, v) => s + (v - mean) ** p, 0) / x.length;
  const variance = central(2);
  return { mean, variance, skew: central(3) / variance ** 1.5, kurtosis: central(4) / variance ** 2 };
};
const correlation = (x: readonly number[], y: readonly number[]): number => {
  const [a, b] = [moments(x), moments(y)];
  return (
    x.reduce((s, v, i) => s + (v - a.mean) * (y[i]! - b.mean), 0) /
    x.length /
    Math.sqrt(a.variance * b.variance)
  );
};

describe("keys", () => {
  test("hold the two words of the seed", async () => {
    expect(await values(random.key(7))).toEqual([0, 7]);
    expect(await values(random.key(2 ** 40 + 5))).toEqual([256, 5]);
    expect(await values(random.key(-1))).toEqual([-1, -1]);
    expect(() => random.key(0.5)).toThrow("[random.key] not a seed: expected an integer, got 0.5.");
  });
  test("split and fold give streams that do not correlate", async () => {
    const k = random.key(11);
    const streams: number[][] = [];
    for (const each of [...random.splitKey(k, 3), random.foldIn(k, 1), random.foldIn(k, 2), k]) {
      streams.push(await values(random.uniform(each, [N])));
    }
    streams.forEach((x, i) =>
      streams.slice(0, i).forEach((y) => expect(Math.abs(correlation(x, y))).toBeLessThan(4 / Math.sqrt(N))),
    );
  });
  test("folding in a number is folding in a tensor", async () => {
    const k = random.key(3);
    expect(await values(random.foldIn(k, tensor(9, { dtype: "i32" })))).toEqual(
      await values(random.foldIn(k, 9)),
    );
    expect(await values(random.foldIn(k, 9))).not.toEqual(await values(random.foldIn(k, 10)));
  });
});

describe("bits and uniforms", () => {
  test("bits are the cipher of the index", async () => {
    const got = await values(random.bits(random.key(42), [2, 3]));
    expect(got).toEqual([0, 1, 2].flatMap((j) => threefry2x32(0, 42, j, 0)));
  });
  test("uniforms are the upper 24 bits, the same for every dtype that holds them", async () => {
    const k = random.key(42);
    const want = (await values(random.bits(k, [101]))).map((w) => (w >>> 8) / 2 ** 24);
    expect(await values(random.uniform(k, [101]))).toEqual(want);
    expect(await values(random.uniform(k, [101], { dtype: "f32" }))).toEqual(want);
  });
  test("uniforms fill their interval evenly", async () => {
    const x = await values(random.uniform(random.key(1), [N], { low: -2, high: 6 }));
    expect(Math.min(...x)).toBeGreaterThanOrEqual(-2);
    expect(Math.max(...x)).toBeLessThan(6);
    const counts = Array.from(
      { length: 16 },
      (_, b) => x.filter((v) => Math.floor((v + 2) * 2) === b).length,
    );
    const chi = counts.reduce((s, c) => s + (c - N / 16) ** 2 / (N / 16), 0);
    expect(chi).toBeLessThan(37.7); // 99.9 % of chi squared with 15 degrees of freedom
    expect(Math.abs(correlation(x.slice(1), x.slice(0, -1)))).toBeLessThan(4 / Math.sqrt(N));
  });
});

describe("distributions", () => {
  test("normals have the moments of a normal", async () => {
    const m = moments(await values(random.normal(random.key(2), [N])));
    expect(Math.abs(m.mean)).toBeLessThan(4 / Math.sqrt(N));
    expect(Math.abs(m.variance - 1)).toBeLessThan(4 * Math.sqrt(2 / N));
    expect(Math.abs(m.skew)).toBeLessThan(4 * Math.sqrt(6 / N));
    expect(Math.abs(m.kurtosis - 3)).toBeLessThan(4 * Math.sqrt(24 / N));
    const scaled = await values(random.normal(random.key(2), [9], { mean: 10, std: 0.5 }));
    const plain = await values(random.normal(random.key(2), [9]));
    expect(scaled).toBeCloseToArray(
      plain.map((v) => 10 + 0.5 * v),
      1e-15,
    );
  });
  test("normals follow from the bits by Box and Muller", async () => {
    const k = random.key(8);
    const bits = (await values(random.bits(k, [10]))).map((w) => w >>> 8);
    const want = [0, 1, 2, 3, 4].map(
      (i) =>
        Math.sqrt(-2 * Math.log((bits[i]! + 1) / 2 ** 24)) * Math.cos((2 * Math.PI * bits[5 + i]!) / 2 ** 24),
    );
    expect(await values(random.normal(k, [5]))).toBeCloseToArray(want, 1e-14);
  });
  test("integers cover low to high - 1 evenly", async () => {
    const x = await values(random.integers(random.key(3), [N], -3, 4));
    const counts = [-3, -2, -1, 0, 1, 2, 3].map((v) => x.filter((w) => w === v).length);
    expect(counts.reduce((a, b) => a + b, 0)).toBe(N);
    expect(counts.reduce((s, c) => s + (c - N / 7) ** 2 / (N / 7), 0)).toBeLessThan(22.5);
    expect(() => random.integers(random.key(3), [1], 4, 4)).toThrow(/range out of bounds/);
  });
  test("bernoulli and dropout keep the wanted share; dropout keeps the mean", async () => {
    const hits = await values(random.bernoulli(random.key(4), [N], 0.3));
    expect(Math.abs(moments(hits).mean - 0.3)).toBeLessThan(4 * Math.sqrt(0.21 / N));
    const kept = await values(random.dropout(random.key(5), ones([N]), 0.25));
    expect(new Set(kept)).toEqual(new Set([0, 1 / 0.75]));
    expect(Math.abs(moments(kept).mean - 1)).toBeLessThan(4 * Math.sqrt(1 / 3 / N));
    expect(() => random.dropout(random.key(5), ones([2]), 1)).toThrow(/rate out of range.*got 1/);
    const x = ones([2]);
    expect(random.dropout(random.key(5), x, 0)).toBe(x);
  });
  test("permutation and shuffle", async () => {
    const order = await values(random.permutation(random.key(6), 100));
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(order).not.toEqual([...order].sort((a, b) => a - b));
    const rows = tensor([
      [1, 10],
      [2, 20],
      [3, 30],
    ]);
    const shuffled = (await random.shuffle(random.key(6), rows).toArray()) as number[][];
    expect(shuffled.map(([a, b]) => b! / a!)).toEqual([10, 10, 10]);
    expect(shuffled.map(([a]) => a!).sort((a, b) => a - b)).toEqual([1, 2, 3]);
  });
  test("categorical draws with the softmax of the logits", async () => {
    const p = [0.5, 0.1, 0.4];
    const logits = tensor(p.map((v) => Math.log(v) + 3))
      .reshape([1, 3])
      .broadcastTo([N, 3]);
    const x = await values(random.categorical(random.key(7), logits));
    const counts = p.map((_, c) => x.filter((v) => v === c).length);
    expect(counts.reduce((s, c, i) => s + (c - N * p[i]!) ** 2 / (N * p[i]!), 0)).toBeLessThan(13.8);
    const never = tensor([-Infinity, 0]).reshape([1, 2]).broadcastTo([100, 2]);
    expect(new Set(await values(random.categorical(random.key(7), never)))).toEqual(new Set([1]));
  });
});

test("what is not a key is refused", () => {
  expect(() => random.uniform(tensor([1, 2]), [3])).toThrow(
    /\[random\] not a key: expected i32\[2\].*got f64\[2\]/,
  );
});

test("a missing key, or a seed in its place, is said in a sentence", () => {
  const seed = 3 as unknown as Tensor;
  expect(() => random.normal(seed, [2])).toThrow(
    /^\[random\.normal\] needs a key: expected random\.key\(seed\), got 3\.$/,
  );
  for (const draw of [random.uniform, random.bits])
    expect(() => draw(undefined as unknown as Tensor, [2])).toThrow(/needs a key.*got undefined/);
  expect(() => random.foldIn(seed, 1)).toThrow(/needs a key/);
  expect(() => random.splitKey(seed)).toThrow(/needs a key/);
});
