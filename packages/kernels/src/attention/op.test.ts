import { describe, expect, test } from "vitest";
import { matmul, ones, permute, tensor, withDevice, zeros, type Tensor } from "@everlong/core";
import { checkOp, uniform, valuesOf, relativeError, Random } from "@everlong/testing";
import {
  alibiSlopes,
  attention,
  attentionGradOp,
  attentionOp,
  attentionProbabilities,
  visiblePairs,
  type AttentionGradInput,
  type AttentionInput,
  type AttentionParams,
} from "./op.ts";

const qkv: readonly AttentionInput[] = ["q", "k", "v"];
const free = { left: -1, right: -1, scale: 0.5, softCap: 0 };
const causal = { ...free, right: 0 };
const lengths = (...values: number[]) => ({ shape: [values.length], dtype: "i32" as const, values });

checkOp(attentionOp, {
  cases: [
    {
      inputs: [
        [2, 3, 1, 4],
        [2, 3, 1, 4],
        [2, 3, 1, 4],
      ],
      params: { ...free, inputs: qkv },
    },
    {
      inputs: [
        [1, 9, 2, 8],
        [1, 9, 2, 8],
        [1, 9, 2, 5],
      ],
      params: { ...causal, inputs: qkv },
    },
    // grouped heads, more keys than queries
    {
      inputs: [
        [2, 3, 4, 3],
        [2, 7, 2, 3],
        [2, 7, 2, 6],
      ],
      params: { ...causal, inputs: qkv },
    },
    {
      inputs: [
        [1, 11, 2, 4],
        [1, 11, 1, 4],
        [1, 11, 1, 4],
      ],
      params: { ...free, left: 2, right: 1, softCap: 3, inputs: qkv },
    },
  ],
  secondOrder: true,
  gradcheck: 1e-6,
});

checkOp(attentionOp, {
  cases: [
    {
      inputs: [[1, 5, 2, 4], [1, 7, 2, 4], [1, 7, 2, 4], { shape: [2], sample: uniform(0.1, 0.5) }],
      params: { ...causal, left: 4, inputs: [...qkv, "slopes"] },
    },
  ],
  gradcheck: 1e-6,
});

// Padded rows have a log-sum-exp of -inf, which no weighted loss can hold: the values alone.
checkOp(
  {
    name: "attention of padded sequences",
    apply: (inputs: readonly Tensor[], params: AttentionParams) => attentionOp(inputs, params)[0]!,
  },
  {
    cases: [
      {
        inputs: [[3, 5, 2, 3], [3, 6, 2, 3], [3, 6, 2, 3], lengths(6, 2, 4), lengths(5, 2, 3)],
        params: { ...free, right: 0, inputs: [...qkv, "keyLengths", "queryLengths"] },
      },
    ],
    gradcheck: 1e-6,
  },
);

const gradNames: readonly AttentionGradInput[] = ["q", "k", "v", "dy", "lse", "delta"];
checkOp(attentionGradOp, {
  cases: [
    {
      inputs: [
        [1, 3, 2, 4],
        [1, 5, 1, 4],
        [1, 5, 1, 3],
        [1, 3, 2, 3],
        { shape: [1, 2, 3], sample: uniform(1, 2) },
        [1, 2, 3],
      ],
      params: { ...causal, softCap: 2, inputs: gradNames },
    },
  ],
  secondOrder: true,
  gradcheck: 1e-6,
});

// Shapes that cross the tiles of kernels.
checkOp(attentionOp, {
  cases: [
    {
      inputs: [
        [1, 97, 2, 16],
        [1, 97, 2, 16],
        [1, 97, 2, 16],
      ],
      params: { ...causal, inputs: qkv },
    },
    {
      inputs: [
        [1, 70, 2, 33],
        [1, 131, 1, 33],
        [1, 131, 1, 20],
      ],
      params: { ...free, scale: 0.2, inputs: qkv },
    },
    {
      inputs: [
        [1, 130, 1, 8],
        [1, 130, 1, 8],
        [1, 130, 1, 8],
      ],
      params: { ...free, left: 9, right: 70, inputs: qkv },
    },
    {
      inputs: [
        [2, 65, 2, 64],
        [2, 65, 2, 64],
        [2, 65, 2, 64],
      ],
      params: { ...causal, scale: 0.125, inputs: qkv },
    },
  ],
  batch: false,
  gradcheck: 1e-6,
});

// Half precision: stored and multiplied as such, added in f32.
checkOp(attentionOp, {
  cases: [
    {
      inputs: [
        [2, 37, 4, 16],
        [2, 45, 2, 16],
        [2, 45, 2, 24],
      ],
      params: { ...causal, scale: 0.25, inputs: qkv },
    },
    {
      inputs: [
        [1, 131, 1, 64],
        [1, 131, 1, 64],
        [1, 131, 1, 64],
      ],
      params: { ...causal, left: 70, scale: 0.125, inputs: qkv },
    },
    // columns that fill neither one panel of a tile nor two
    {
      inputs: [
        [1, 135, 1, 80],
        [1, 135, 1, 80],
        [1, 135, 1, 40],
      ],
      params: { ...causal, scale: 0.11, inputs: qkv },
    },
    {
      inputs: [
        [1, 67, 2, 40],
        [1, 140, 1, 40],
        [1, 140, 1, 104],
      ],
      params: { ...free, scale: 0.16, inputs: qkv },
    },
  ],
  dtypes: ["f16", "bf16"],
  batch: false,
  gradcheck: 1e-6,
});

describe("attention", () => {
  test("the mask is aligned at the last query and the last key; rows that see nothing give zeros", () =>
    withDevice("reference", async () => {
      const v = tensor([1, 10, 100]).reshape([1, 3, 1, 1]);
      const one = ones([1, 2, 1, 1]);
      const y = attention(one.mul(0), zeros([1, 3, 1, 1]), v, { causal: true });
      expect(relativeError(await valuesOf(y), [5.5, 37])).toBeLessThan(1e-14);
      const late = attention(zeros([1, 4, 1, 1]), zeros([1, 3, 1, 1]), v, { causal: true });
      expect(relativeError(await valuesOf(late), [0, 1, 5.5, 37])).toBeLessThan(1e-14);
      expect((await valuesOf(late))[0]).toBe(0);
    }));

  test("padding of a batch of sequences changes nothing and gives zeros", () =>
    withDevice("reference", async () => {
      const random = new Random();
      const x = tensor(random.normals(2 * 6 * 4), [2, 6, 1, 4]);
      const keyLengths = tensor([6, 4], { dtype: "i32" });
      const y = await valuesOf(attention(x, x, x, { causal: true, keyLengths }));
      const short = x.slice([{ start: 1 }, { stop: 4 }]);
      const alone = await valuesOf(attention(short, short, short, { causal: true }));
      expect(relativeError(y.subarray(24, 40), alone)).toBeLessThan(1e-14);
      expect([...y.subarray(40)]).toEqual(Array.from({ length: 8 }, () => 0));
    }));

  test("probabilities times values are the output", () =>
    withDevice("reference", async () => {
      const random = new Random(5);
      const [q, k, v] = [0, 1, 2].map(() => tensor(random.normals(2 * 5 * 2 * 3), [2, 5, 2, 3]));
      const options = { causal: true, alibiSlopes: tensor(alibiSlopes(2)), window: [2, -1] as const };
      const p = attentionProbabilities(q!, k!, options);
      const y = permute(matmul(p, permute(v!, [0, 2, 1, 3])), [0, 2, 1, 3]);
      expect(relativeError(await valuesOf(y), await valuesOf(attention(q!, k!, v!, options)))).toBeLessThan(
        1e-14,
      );
    }));

  test("slopes of 8 heads are powers of 1/2; of 6 heads those of 4 and every other of 8", () => {
    expect(alibiSlopes(8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((i) => 2 ** -i));
    expect(alibiSlopes(6)).toEqual([2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8, 2 ** -1, 2 ** -3]);
  });

  test("pairs that are computed", () => {
    expect(visiblePairs(4, 4, { left: -1, right: 0 })).toBe(10);
    expect(visiblePairs(2, 5, { left: -1, right: 0 })).toBe(9);
    expect(visiblePairs(4, 4, { left: 1, right: 1 })).toBe(10);
  });

  test("what does not fit is refused", () =>
    withDevice("reference", () => {
      const x = ones([1, 2, 3, 4]);
      expect(() => attention(x, ones([1, 2, 2, 4]), ones([1, 2, 2, 4]))).toThrow(/query heads do not group/);
      expect(() => attention(x, ones([1, 2, 3, 5]), x)).toThrow(/k has the wrong shape/);
      expect(() => attention(x, x, x, { window: [0.5, 1] })).toThrow(/not a window/);
      for (const window of [3, [1], [1, 2, 3], "ab", { left: 1 }])
        expect(() => attention(x, x, x, { window } as never)).toThrow(/not a window: expected two integers/);
      for (const scale of [NaN, Infinity, "a", "2"])
        expect(() => attention(x, x, x, { scale } as never)).toThrow(
          `not a scale: expected a finite number, got ${scale}`,
        );
      for (const softCap of [-1, NaN, Infinity, "3"])
        expect(() => attention(x, x, x, { softCap } as never)).toThrow(`or 0 for none, got ${softCap}`);
      expect(() => attention(ones([2, 3]), x, x)).toThrow(/\[B, T, H, K\]/);
    }));
});
