// FlashAttention's shapes (head sizes and lengths of its v1 tests, masks of blocks of 16 x 256 drawn with density 0.3) and masks of its
// block-sparse tests, on the CPU: random rows of outputs and gradients against float64 sums.

import "@everlong/device-cpu";
import { gradients, mul, random, sum, withDevice, type Tensor } from "@everlong/core";
import { attentionBlocks, attentionWithLogSumExp, type BlockLists, type BlockSize } from "@everlong/kernels";
import { Random, relativeError } from "@everlong/testing";
import { describe, expect, test } from "vitest";
import {
  butterflyBlocks,
  localBlocks,
  stridedBlocks,
  unionOfBlocks,
  type BlockPattern,
} from "./block-patterns.ts";

const SAMPLES = 6;
const HEADS = 2;

interface Case {
  readonly length: number;
  readonly dim: number;
  readonly size: BlockSize;
  readonly lists: BlockLists;
  readonly causal: boolean;
}

const read = async (t: Tensor): Promise<Float64Array> => Float64Array.from(await t.data());
const relative = (pairs: readonly (readonly [number, number])[]): number =>
  relativeError(
    pairs.map(([got]) => got),
    pairs.map(([, want]) => want),
  );

/** The largest relative error of y, dq, dk and dv. */
async function worstError({ length, dim, size, lists, causal }: Case): Promise<number> {
  const shape = [1, length, HEADS, dim];
  const [q, k, v, g] = [1, 2, 3, 4].map((s) => random.normal(random.key(s), shape)) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const { y, logSumExp } = attentionWithLogSumExp(q, k, v, { causal, blocks: attentionBlocks(size, lists) });
  const found = gradients(sum(mul(y, g)), [q, k, v]);
  const [x, keys, values, cotangent] = await Promise.all([read(q), read(k), read(v), read(g)]);
  const [out, lse] = await Promise.all([read(y), read(logSumExp)]);
  const [dq, dk, dv] = (await Promise.all(found.map(read))) as [Float64Array, Float64Array, Float64Array];
  // finalisers come too late for hundreds of cases
  for (const t of [q, k, v, g, y, logSumExp, ...found]) t[Symbol.dispose]();
  const sets = lists.map((row) => new Set(row));
  const sees = (i: number, j: number): boolean =>
    sets[Math.floor(i / size.queries)]!.has(Math.floor(j / size.keys)) && (!causal || j <= i);
  const row = (t: Float64Array, i: number, h: number): Float64Array =>
    t.subarray((i * HEADS + h) * dim, (i * HEADS + h + 1) * dim);
  const dot = (a: Float64Array, b: Float64Array): number => a.reduce((s, e, c) => s + e * b[c]!, 0);
  const score = (i: number, j: number, h: number): number =>
    dot(row(x, i, h), row(keys, j, h)) / Math.sqrt(dim);
  const drawn = new Random(length + dim);
  const pairs: Record<"y" | "dq" | "dk" | "dv", [number, number][]> = { y: [], dq: [], dk: [], dv: [] };
  const compare = (name: keyof typeof pairs, got: Float64Array, want: Float64Array): void => {
    got.forEach((e, c) => pairs[name].push([e, want[c]!]));
  };
  for (let s = 0; s < SAMPLES; s++) {
    const h = s % HEADS;
    const at = Math.min(length - 1, Math.floor(length * drawn.uniform()));
    // as a query
    const seen = Array.from({ length }, (_, j) => j).filter((j) => sees(at, j));
    const scores = seen.map((j) => score(at, j, h));
    const top = Math.max(...scores);
    const total = scores.reduce((t, e) => t + Math.exp(e - top), 0);
    const [want, wantDq] = [new Float64Array(dim), new Float64Array(dim)];
    seen.forEach((j, n) => {
      const p = Math.exp(scores[n]! - top) / total;
      for (let c = 0; c < dim; c++) want[c]! += p * row(values, j, h)[c]!;
    });
    const delta = dot(row(cotangent, at, h), want);
    seen.forEach((j, n) => {
      const p = Math.exp(scores[n]! - top) / total;
      const ds = (p * (dot(row(cotangent, at, h), row(values, j, h)) - delta)) / Math.sqrt(dim);
      for (let c = 0; c < dim; c++) wantDq[c]! += ds * row(keys, j, h)[c]!;
    });
    compare("y", row(out, at, h), want);
    compare("dq", row(dq, at, h), wantDq);
    // as a key
    const [wantDk, wantDv] = [new Float64Array(dim), new Float64Array(dim)];
    for (let i = 0; i < length; i++) {
      if (!sees(i, at)) continue;
      const p = Math.exp(score(i, at, h) - lse[h * length + i]!);
      const gi = row(cotangent, i, h);
      const ds = (p * (dot(gi, row(values, at, h)) - dot(gi, row(out, i, h)))) / Math.sqrt(dim);
      for (let c = 0; c < dim; c++) {
        wantDk[c]! += ds * row(x, i, h)[c]!;
        wantDv[c]! += p * gi[c]!;
      }
    }
    compare("dk", row(dk, at, h), wantDk);
    compare("dv", row(dv, at, h), wantDv);
  }
  return Math.max(...Object.values(pairs).map(relative));
}

/** A few roundings of float32, more for the sums of gradients over thousands of rows. */
const TOLERANCE = 5e-6;

describe("FlashAttention's shapes", () => {
  const cases = [16, 32, 40, 64, 80, 128].flatMap((dim) =>
    [97, 128, 200, 256, 257, 384, 512, 768, 1024, 1025, 2048].map((length) => [length, dim] as const),
  );
  test.each(cases)("%i positions, heads of %i", (length, dim) =>
    withDevice("cpu", async () => {
      const size = { queries: 16, keys: 256 };
      const drawn = new Random(7 * length + dim);
      const columns = Math.ceil(length / size.keys);
      const lists = Array.from({ length: Math.ceil(length / size.queries) }, () =>
        Array.from({ length: columns }, (_, c) => c).filter(() => drawn.uniform() < 0.3),
      );
      for (const causal of [false, true])
        expect(await worstError({ length, dim, size, lists, causal })).toBeLessThan(TOLERANCE);
    }),
  );
});

describe("masks", () => {
  const whole = localBlocks(1000);
  const masks: readonly (readonly [string, BlockPattern, boolean])[] = [
    ["causal", whole, true],
    ["block-causal", localBlocks(1000, 0), false],
    ["sliding window", localBlocks(2, 0), true],
    ["block-diagonal", localBlocks(0), false],
    ["causal in its block", localBlocks(0), true],
    ["local and strided", unionOfBlocks(localBlocks(1), stridedBlocks(4)), true],
    ["butterfly", butterflyBlocks(), false],
    ["causal butterfly", butterflyBlocks(), true],
  ];
  const sizes = [
    { queries: 64, keys: 64 },
    { queries: 128, keys: 64 },
    { queries: 48, keys: 112 },
    { queries: 7, keys: 5 },
  ];
  test.each(masks.flatMap((m) => sizes.map((size) => [...m, size] as const)))(
    "%s, causal %#",
    (_, pattern, causal, size) =>
      withDevice("cpu", async () => {
        const length = 517;
        const grid = { rows: Math.ceil(length / size.queries), columns: Math.ceil(length / size.keys), size };
        const lists = pattern(grid);
        expect(await worstError({ length, dim: 128, size, lists, causal })).toBeLessThan(TOLERANCE);
      }),
  );
});
