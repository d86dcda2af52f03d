import { expect, test } from "vitest";
import {
  TILE_MAP_WORDS,
  type CudaCall,
  type CudaLowering,
  type CudaStep,
  type CudaView,
} from "../cuda-step.ts";
import { A100, denseView, H100 } from "../cuda-targets.ts";
import { attentionCuda, attentionGradCuda } from "./cuda.ts";
import { visiblePairs, type AttentionGradParams, type AttentionParams, type Visibility } from "./op.ts";

const view = (shape: readonly number[], dtype: CudaView["dtype"]): CudaView => ({
  ...denseView(dtype, ...shape),
  aligned: true,
});

/** The number that a launch gives to a word of its kernel; undefined where the kernel has no such word. */
function wordOf({ kernel, args }: CudaStep, name: string): number | undefined {
  const found = new RegExp(`\\bw_${name} = (\\d+)\\b`).exec(kernel.source());
  let at = Number(found?.[1] ?? -1);
  if (at < 0) return undefined;
  for (const arg of args) {
    if (at === 0) return arg as number;
    at -= typeof arg === "object" && "map" in arg ? TILE_MAP_WORDS : 1;
  }
  throw new Error(`${name} lies behind the arguments`);
}

/** Pairs that kernels look at by their words: query i stands at i + keys - queries, and sees `left` keys before and `right` behind it. */
function pairsOf(step: CudaStep): number | undefined {
  const [queries, keys, left, right] = ["queries", "keys", "left", "right"].map((name) => wordOf(step, name));
  if (left === undefined || right === undefined) return undefined;
  // What sums with positions must stay below.
  expect(Math.max(left, right) + Math.max(queries!, keys!)).toBeLessThan(2 ** 31);
  const offset = keys! - queries!;
  let count = 0;
  for (let i = 0; i < queries!; i++)
    count += Math.max(0, Math.min(keys!, i + offset + right + 1) - Math.max(0, i + offset - left));
  return count;
}

/** The launches forward and back. */
function launches(
  seen: Visibility,
  [queries, keys, heads, keyHeads]: readonly [number, number, number, number],
  dtype: CudaView["dtype"],
  target: typeof H100,
): CudaStep[] {
  const [q, kv] = [view([2, queries, heads, 64], dtype), view([2, keys, keyHeads, 64], dtype)];
  const rows = view([2, heads, queries], "f32");
  const params = { ...seen, scale: 0.1, softCap: 0 };
  const forwards: CudaCall<AttentionParams> = {
    inputs: [q, kv, kv],
    outputs: [q, rows],
    params: { ...params, inputs: ["q", "k", "v"] },
  };
  const backwards: CudaCall<AttentionGradParams> = {
    inputs: [q, kv, kv, q, rows, rows],
    outputs: [q, kv, kv],
    params: { ...params, inputs: ["q", "k", "v", "dy", "lse", "delta"] },
  };
  return [attentionCuda.lower(forwards, target), attentionGradCuda.lower(backwards, target)].flatMap(
    (lowered) => (lowered as CudaLowering).steps as readonly CudaStep[],
  );
}

const WINDOWS: readonly Visibility[] = [
  { left: -1, right: 0 },
  { left: 0, right: 0 },
  { left: 7, right: 0 },
  { left: -1, right: -1 },
  { left: -1, right: 5 },
  { left: 100, right: 3 },
  { left: 2 ** 30, right: 2 ** 40 },
];
const SIZES = [
  [300, 300, 4, 4],
  [100, 300, 4, 2],
  [300, 100, 4, 4],
  [1, 2000, 8, 1],
] as const;

test.each([
  ["f32", A100],
  ["bf16", A100],
  ["bf16", H100],
] as const)("launches over %s see as many keys as the reference (%o)", (dtype, target) => {
  for (const seen of WINDOWS)
    for (const sizes of SIZES) {
      const [queries, keys, heads, keyHeads] = sizes;
      const told = launches(seen, sizes, dtype, target).flatMap((step) => {
        const pairs = pairsOf(step);
        // Heads that share keys may be rows of one query, each of which sees what that sees.
        const packed = wordOf(step, "queries")! > queries ? heads / keyHeads : 1;
        return pairs === undefined ? [] : [pairs / packed];
      });
      expect(told.length).toBeGreaterThan(0);
      const expected = visiblePairs(queries, keys, seen);
      for (const pairs of told) expect(pairs, `${JSON.stringify(seen)} ${sizes.join()}`).toBe(expected);
    }
});
