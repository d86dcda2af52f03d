import { expect, test } from "vitest";
import { H100 } from "../cuda-targets.ts";
import type { Sizes } from "./cuda-call.ts";
import { bestParts, finishTime, type TileWork } from "./cuda-parts.ts";
import { forwardPlan, gradientParts } from "./cuda-plan.ts";

const CAUSAL = { left: -1, right: 0 };
const FULL = { left: -1, right: -1 };
const sizes = (given: Partial<Sizes>): Sizes => ({
  batch: 1,
  heads: 16,
  keyHeads: given.heads ?? 16,
  queries: 1024,
  keys: given.queries ?? 1024,
  keyDim: 64,
  valueDim: given.keyDim ?? 64,
  dtype: "bf16",
  lists: undefined,
  ...given,
});

test("blocks finish when the last of them does", () => {
  const work: TileWork = {
    steps: [8, 8, 8],
    count: 4,
    processors: 5,
    resident: 1,
    cost: { step: 1, leastStep: 1, tile: 2, leastTile: 2 },
  };
  // 12 tiles of 10 on 5 processors: three rounds.
  expect(finishTime(work, 1)).toBe(30);
  // 24 tiles of 6: five rounds.
  expect(finishTime(work, 2)).toBe(30);
  // Long ones first: 10 and 6 + 4 end together.
  expect(finishTime({ ...work, steps: [8, 4, 2], count: 1, processors: 2 }, 1)).toBe(10);
  // Two blocks of a processor take twice as long each, but no less than alone.
  const beside = { ...work, resident: 2, cost: { step: 1, leastStep: 1.5, tile: 2, leastTile: 2 } };
  expect(finishTime({ ...beside, count: 1 }, 1)).toBe(14);
  expect(finishTime(beside, 1)).toBe(2 * (8 * 2 + 4));
});

test("parts are taken where processors would idle, and only if they pay", () => {
  const work: TileWork = {
    steps: [100],
    count: 2,
    processors: 16,
    resident: 1,
    cost: { step: 1, leastStep: 1, tile: 1, leastTile: 1 },
  };
  expect(bestParts(work, () => 0).parts).toBe(8);
  expect(bestParts(work, (n) => 40 * n).parts).toBe(1);
  expect(bestParts({ ...work, count: 64 }, () => 0).parts).toBe(1);
  // No more parts than steps.
  expect(bestParts({ ...work, steps: [3] }, () => 0).parts).toBe(3);
});

test("long sequences take turns, short ones lie side by side, few tiles are cut", () => {
  const plan = (visible: typeof FULL, given: Partial<Sizes>, lengths = false): string => {
    const { groups, block, parts } = forwardPlan(visible, sizes(given), H100, lengths);
    return `${groups} x ${block}${parts > 1 ? " in parts" : ""}`;
  };
  expect(plan(CAUSAL, { batch: 2, queries: 8192 })).toBe("3 x 128");
  expect(plan(CAUSAL, { batch: 2, queries: 8192, keyDim: 128 })).toBe("2 x 144");
  expect(plan(CAUSAL, { batch: 8, queries: 2048, keyDim: 128 })).toBe("2 x 128");
  expect(plan(CAUSAL, { batch: 32, queries: 256 })).toBe("4 x 64");
  expect(plan(CAUSAL, { batch: 32, queries: 256 }, true)).toBe("1 x 64");
  expect(plan(FULL, { batch: 64, heads: 12, queries: 64 })).toBe("1 x 64");
  expect(plan(FULL, { batch: 8, queries: 729, keyDim: 128 })).toBe("3 x 80");
  expect(plan(CAUSAL, { heads: 4, queries: 2048, keyDim: 128 })).toBe("1 x 64");
  expect(plan(FULL, { batch: 2, heads: 8, queries: 300, keys: 3000 })).toBe("1 x 64 in parts");
  expect(plan(FULL, { heads: 8, queries: 4, keys: 65_536, keyDim: 128 })).toBe("1 x 80 in parts");
  const lists = { queries: 128, keys: 128, patterns: 1 };
  expect(plan(FULL, { heads: 2, queries: 256, keyDim: 128, lists })).toBe("1 x 64");
});

test("gradients of shared keys are cut by heads where tiles differ in length", () => {
  const shared = { batch: 4, heads: 32, keyHeads: 4, queries: 2048, keyDim: 128 };
  expect(gradientParts(CAUSAL, sizes(shared), H100, {})).toEqual({ heads: 4, steps: 1, whole: false });
  expect(gradientParts(FULL, sizes(shared), H100, {})).toEqual({ heads: 1, steps: 1, whole: false });
  // As many parts as were estimated, whatever the heads: three parts of 64 tiles would be a second round.
  const threes = { batch: 4, heads: 12, keyHeads: 4, queries: 512, keyDim: 128 };
  expect(gradientParts(FULL, sizes(threes), H100, {})).toEqual({ heads: 1, steps: 2, whole: false });
  // A divisor of the heads that share.
  const three = { heads: 12, keyHeads: 1, queries: 4096 };
  const { heads } = gradientParts(CAUSAL, sizes(three), H100, {});
  expect(12 % heads).toBe(0);
  expect(heads).toBeGreaterThanOrEqual(6);
  const alone = gradientParts(FULL, sizes({ heads: 1, queries: 8192, keys: 256 }), H100, {});
  expect(alone.heads).toBe(1);
  expect(alone.steps).toBeGreaterThan(8);
});

test("blocks take whole heads where that saves passes over the sums of dq", () => {
  const whole = (visible: typeof FULL, given: Partial<Sizes>, more = {}): boolean =>
    gradientParts(visible, sizes(given), H100, more).whole;
  expect(whole(CAUSAL, { batch: 32, queries: 256 })).toBe(true);
  expect(whole(FULL, { batch: 32, heads: 8, queries: 256, keyDim: 128 })).toBe(true);
  expect(whole(CAUSAL, { batch: 16, heads: 32, keyHeads: 8, queries: 512, keyDim: 128 })).toBe(true);
  // What they work on would fall out of the cache.
  expect(whole(CAUSAL, { batch: 8, queries: 2048 })).toBe(false);
  // A second round for twelve heads of 144.
  expect(whole(CAUSAL, { batch: 12, heads: 12, queries: 320, keyDim: 128 })).toBe(false);
  // Too few heads to keep everyone busy.
  expect(whole(FULL, { heads: 12, queries: 512 })).toBe(false);
  // Padding costs less the other way, and an order costs more.
  expect(whole(FULL, { batch: 32, heads: 12, queries: 512 }, { lengths: true })).toBe(false);
  expect(whole(CAUSAL, { batch: 16, queries: 1024 })).toBe(false);
  expect(whole(CAUSAL, { batch: 16, queries: 1024 }, { deterministic: true })).toBe(true);
});
