import { describe, expect, test } from "vitest";
import {
  add,
  gradients,
  iota,
  mod,
  mul,
  ones,
  sum,
  tensor,
  where,
  withDevice,
  type Tensor,
} from "@everlong/core";
import { Random, checkOp, relativeError, valuesOf } from "@everlong/testing";
import { attentionBlocks, attentionBlocksOf, type AttentionBlocks, type BlockLists } from "./block-lists.ts";
import {
  attention,
  attentionProbabilities,
  blockSparseAttentionGradOp,
  blockSparseAttentionOp,
  type AttentionGradInput,
  type AttentionInput,
} from "./op.ts";

const ints = (shape: number[], values: readonly number[]) => ({ shape, dtype: "i32" as const, values });
const qkv: readonly AttentionInput[] = ["q", "k", "v"];
const free = { left: -1, right: -1, scale: 0.5, softCap: 0 };
// every row of blocks sees something, so that the log-sum-exp is finite
const shared = [ints([1, 4], [0, 2, 3, 6]), ints([6], [1, 0, 0, 2, 0, 1])];
const perHead = [ints([2, 4], [0, 1, 2, 4, 4, 5, 8, 9]), ints([10], [0, 1, 2, 0, 0, 0, 1, 2, 1, 7])];

checkOp(blockSparseAttentionOp, {
  cases: [
    {
      inputs: [[2, 9, 2, 4], [2, 9, 2, 4], [2, 9, 2, 3], ...shared],
      params: { ...free, blockSize: [3, 4], inputs: [...qkv, "blockStarts", "blockColumns"] },
    },
    {
      inputs: [[1, 9, 2, 4], [1, 8, 1, 4], [1, 8, 1, 4], ...perHead],
      params: { ...free, left: 7, blockSize: [4, 3], inputs: [...qkv, "blockStarts", "blockColumns"] },
    },
  ],
  batch: [true, true, true, false, false],
  secondOrder: true,
  gradcheck: 1e-6,
});

const grad: readonly AttentionGradInput[] = [...qkv, "dy", "lse", "delta", "blockStarts", "blockColumns"];
checkOp(blockSparseAttentionGradOp, {
  cases: [
    {
      inputs: [
        [1, 9, 2, 4],
        [1, 9, 2, 4],
        [1, 9, 2, 3],
        [1, 9, 2, 3],
        { shape: [1, 2, 9], sample: (random) => 1 + random.uniform() },
        [1, 2, 9],
        ...shared,
      ],
      params: { ...free, softCap: 2, blockSize: [3, 4], inputs: grad },
    },
  ],
  batch: [true, true, true, true, true, true, false, false],
  secondOrder: true,
  gradcheck: 1e-6,
});

describe("lists of blocks", () => {
  const sample = (seed: number, ...shape: number[]): Tensor =>
    tensor(new Random(seed).normals(shape.reduce((a, b) => a * b, 1)), shape);
  const lists: BlockLists = [[0], [2, 0], [], [3, 1]];
  const size = { queries: 3, keys: 2 };

  /** Softmax over the pairs that the lists name, by plain sums over all pairs. */
  async function direct(q: Tensor, k: Tensor, v: Tensor, of: (h: number) => BlockLists): Promise<number[]> {
    const [b, tq, heads, dim] = q.shape as [number, number, number, number];
    const tk = k.shape[1]!;
    const [x, y, z] = await Promise.all([q, k, v].map(valuesOf));
    const out = Array.from(x!, () => 0);
    for (let n = 0; n < b; n++)
      for (let h = 0; h < heads; h++)
        for (let i = 0; i < tq; i++) {
          const at = ((n * tq + i) * heads + h) * dim;
          const listed = of(h)[Math.floor(i / size.queries)]!;
          let total = 0;
          const sums = Array.from({ length: dim }, () => 0);
          for (let j = 0; j < tk; j++) {
            if (!listed.includes(Math.floor(j / size.keys))) continue;
            const from = ((n * tk + j) * heads + h) * dim;
            let dot = 0;
            for (let c = 0; c < dim; c++) dot += x![at + c]! * y![from + c]!;
            const p = Math.exp(dot / Math.sqrt(dim));
            total += p;
            for (let c = 0; c < dim; c++) sums[c]! += p * z![from + c]!;
          }
          sums.forEach((s, c) => (out[at + c] = total > 0 ? s / total : 0));
        }
    return out;
  }

  test("attention over lists is the softmax over what they name; a row with none gives zeros", () =>
    withDevice("reference", async () => {
      const [q, k, v] = [sample(1, 2, 11, 2, 4), sample(2, 2, 8, 2, 4), sample(3, 2, 8, 2, 4)];
      const y = attention(q, k, v, { blocks: attentionBlocks(size, lists) });
      expect(relativeError(await valuesOf(y), await direct(q, k, v, () => lists))).toBeLessThan(1e-14);
      const other: BlockLists = [[3], [3], [0, 1, 2, 3], []];
      const both = attention(q, k, v, { blocks: attentionBlocks(size, [lists, other]) });
      const want = await direct(q, k, v, (h) => (h === 0 ? lists : other));
      expect(relativeError(await valuesOf(both), want)).toBeLessThan(1e-14);
    }));

  test("lists from a mask are the lists of its true blocks, with one mask or one a head", () =>
    withDevice("reference", async () => {
      const [q, k, v] = [sample(1, 1, 11, 2, 4), sample(2, 1, 8, 2, 4), sample(3, 1, 8, 2, 4)];
      const maskOf = (all: readonly BlockLists[]): Tensor =>
        tensor(
          all.flatMap((l) => l.flatMap((row) => [0, 1, 2, 3].map((c) => row.includes(c)))),
          { dtype: "bool" },
        ).reshape([all.length, 4, 4]);
      const y = (blocks: AttentionBlocks): Promise<Float64Array> =>
        valuesOf(attention(q, k, v, { blocks })) as Promise<Float64Array>;
      const other: BlockLists = [[], [3], [0, 1, 2, 3], []];
      const apart = attentionBlocksOf(maskOf([lists, other]), size);
      expect([...(await y(apart))]).toEqual([...(await y(attentionBlocks(size, [lists, other])))]);
      const one = attentionBlocksOf(maskOf([lists]).reshape([4, 4]), size);
      expect([...(await y(one))]).toEqual([...(await y(attentionBlocks(size, lists)))]);
    }));

  test("causality, windows and padding hide pairs within listed blocks; probabilities agree", () =>
    withDevice("reference", async () => {
      const [q, k, v] = [sample(1, 1, 12, 1, 4), sample(2, 1, 12, 1, 4), sample(3, 1, 12, 1, 4)];
      const all: BlockLists = [0, 1, 2, 3].map(() => [5, 0, 1, 2, 3, 4]);
      const rest = { causal: true, window: [4, -1] as const, keyLengths: tensor([9], { dtype: "i32" }) };
      const sparse = attention(q, k, v, { ...rest, blocks: attentionBlocks(size, all) });
      const dense = attention(q, k, v, rest);
      expect(relativeError(await valuesOf(sparse), await valuesOf(dense))).toBeLessThan(1e-14);
      const p = attentionProbabilities(q, k, { blocks: attentionBlocks(size, lists) });
      const j = iota([12, 12], 1);
      const i = iota([12, 12], 0);
      const first = where(j.less(2).and(i.less(3)), p.reshape([12, 12]), 0);
      // the first three queries see the first block alone
      expect(await sum(first).item()).toBeCloseTo(3, 12);
      expect(await sum(where(mod(add(i, 0), 12).less(3), p.reshape([12, 12]), 0)).item()).toBeCloseTo(3, 12);
    }));

  test("no gradient reaches a key that no list names", () =>
    withDevice("reference", async () => {
      const [q, k, v] = [sample(1, 1, 11, 1, 4), sample(2, 1, 10, 1, 4), sample(3, 1, 10, 1, 4)];
      const y = attention(q, k, v, { blocks: attentionBlocks(size, [[0], [0], [2], [0, 2]]) });
      const [dk, dv] = gradients(sum(mul(y, y)), [k, v]).map((g) => valuesOf(g));
      for (const g of [await dk!, await dv!])
        for (let t = 0; t < 10; t++) {
          const seen = t < 2 || (t >= 4 && t < 6);
          const row = Array.from(g.subarray(4 * t, 4 * t + 4));
          expect(
            row.some((e) => e !== 0),
            `key ${t}`,
          ).toBe(seen);
        }
    }));

  test("what does not fit is refused", () =>
    withDevice("reference", () => {
      const x = ones([1, 12, 2, 4]);
      const blocks = attentionBlocks(size, lists);
      expect(() => attention(ones([1, 13, 2, 4]), x, x, { blocks })).toThrow(
        /blockStarts has the wrong shape/,
      );
      expect(() => attention(x, x, x, { blocks: { ...blocks, keys: 0 } })).toThrow(/not a size of blocks/);
      expect(() => attentionBlocks(size, [[1, 1]])).toThrow(/once each/);
      expect(() => attentionBlocks(size, [[[0]], [[0], [1]]])).toThrow(/differ in rows/);
      expect(() => attentionBlocksOf(ones([2, 2]), size)).toThrow(/mask of blocks/);
    }));
});
