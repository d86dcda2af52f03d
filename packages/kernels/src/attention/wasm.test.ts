import { Random, uniform } from "@everlong/testing";
import { expect, test } from "vitest";
import { checkWasm } from "../wasm-check.ts";
import { contiguous } from "../wasm-step-runner.ts";
import type { WasmCall, WasmSource } from "../wasm-step.ts";
import {
  attentionGradOp,
  attentionOp,
  blockSparseAttentionGradOp,
  blockSparseAttentionOp,
  type AttentionGradInput,
  type AttentionInput,
} from "./op.ts";
import { attentionGradWasm, attentionWasm } from "./wasm.ts";

const qkv: readonly AttentionInput[] = ["q", "k", "v"];
const free = { left: -1, right: -1, scale: 0.5, softCap: 0 };
const causal = { ...free, right: 0 };
const lengths = (...values: number[]) => ({ shape: [values.length], dtype: "i32" as const, values });

checkWasm(attentionOp, attentionWasm, [
  {
    inputs: [
      [1, 3, 1, 4],
      [1, 3, 1, 4],
      [1, 3, 1, 4],
    ],
    params: { ...free, inputs: qkv },
  },
  {
    inputs: [
      [2, 129, 3, 8],
      [2, 129, 3, 8],
      [2, 129, 3, 8],
    ],
    params: { ...causal, inputs: qkv },
  },
  {
    inputs: [
      [1, 70, 4, 33],
      [1, 131, 2, 33],
      [1, 131, 2, 21],
    ],
    params: { ...free, scale: 0.2, inputs: qkv },
  },
  {
    inputs: [
      [1, 40, 2, 64],
      [1, 33, 1, 64],
      [1, 33, 1, 128],
    ],
    params: { ...causal, scale: 0.125, inputs: qkv },
  },
  {
    inputs: [
      [1, 150, 1, 8],
      [1, 150, 1, 8],
      [1, 150, 1, 8],
    ],
    params: { ...free, left: 9, right: 70, inputs: qkv },
  },
  {
    inputs: [
      [1, 150, 1, 8],
      [1, 150, 1, 8],
      [1, 150, 1, 8],
    ],
    params: { ...causal, left: 3, softCap: 2, inputs: qkv },
  },
  {
    inputs: [[2, 50, 3, 5], [2, 71, 3, 5], [2, 71, 3, 5], { shape: [2, 3], sample: uniform(0.1, 0.5) }],
    params: { ...causal, inputs: [...qkv, "slopes"] },
  },
  {
    inputs: [[1, 50, 2, 6], [1, 50, 2, 6], [1, 50, 2, 6], { shape: [2], sample: uniform(0.1, 0.5) }],
    params: { ...free, left: 20, inputs: [...qkv, "slopes"] },
  },
  {
    inputs: [[4, 37, 2, 9], [4, 90, 2, 9], [4, 90, 2, 9], lengths(90, 20, 0, 65), lengths(37, 18, 37, 5)],
    params: { ...causal, inputs: [...qkv, "keyLengths", "queryLengths"] },
  },
  {
    inputs: [[3, 90, 1, 8], [3, 90, 1, 8], [3, 90, 1, 8], lengths(90, 20, 1)],
    params: { ...free, inputs: [...qkv, "keyLengths"] },
  },
]);

const grad: readonly AttentionGradInput[] = ["q", "k", "v", "dy", "lse", "delta"];
/** A log-sum-exp no smaller than the scores of these inputs, so that weights stay below 1. */
const lse = (...shape: number[]) => ({ shape, sample: uniform(2, 3) });

checkWasm(attentionGradOp, attentionGradWasm, [
  {
    inputs: [[1, 3, 1, 4], [1, 3, 1, 4], [1, 3, 1, 4], [1, 3, 1, 4], lse(1, 1, 3), [1, 1, 3]],
    params: { ...free, inputs: grad },
  },
  {
    inputs: [[2, 129, 3, 8], [2, 129, 3, 8], [2, 129, 3, 8], [2, 129, 3, 8], lse(2, 3, 129), [2, 3, 129]],
    params: { ...causal, scale: 0.3, inputs: grad },
  },
  {
    inputs: [[1, 300, 4, 33], [1, 131, 2, 33], [1, 131, 2, 21], [1, 300, 4, 21], lse(1, 4, 300), [1, 4, 300]],
    params: { ...free, left: 100, scale: 0.1, inputs: grad },
  },
  {
    inputs: [[1, 40, 2, 64], [1, 33, 1, 64], [1, 33, 1, 128], [1, 40, 2, 128], lse(1, 2, 40), [1, 2, 40]],
    params: { ...causal, scale: 0.05, softCap: 2, inputs: grad },
  },
  {
    inputs: [
      [4, 37, 2, 9],
      [4, 90, 2, 9],
      [4, 90, 2, 9],
      [4, 37, 2, 9],
      lse(4, 2, 37),
      [4, 2, 37],
      { shape: [2], sample: uniform(0.1, 0.5) },
      lengths(90, 20, 0, 65),
      lengths(37, 18, 37, 5),
    ],
    params: { ...causal, scale: 0.2, inputs: [...grad, "slopes", "keyLengths", "queryLengths"] },
  },
]);

const ints = (shape: number[], values: readonly number[]) => ({ shape, dtype: "i32" as const, values });
/** Lists of `rows` rows that see each of `columns` blocks with probability `share`, and none in the second row. */
function drawnLists(rows: number, columns: number, share: number, seed: number) {
  const random = new Random(seed);
  const at = [0];
  const listed: number[] = [];
  for (let r = 0; r < rows; r++) {
    const likely = r === 1 ? 0 : share;
    for (let c = columns - 1; c >= 0; c--) if (random.uniform() < likely) listed.push(c);
    at.push(listed.length);
  }
  return [ints([1, rows + 1], at), ints([listed.length], listed)];
}

/** Rows of 16 queries and 24 keys: some see nothing, some everything, some blocks beyond the window. */
const starts = ints([1, 6], [0, 2, 2, 7, 10, 11]);
const columns = ints([11], [4, 0, 0, 1, 2, 3, 4, 3, 1, 0, 4]);
const listed: readonly AttentionInput[] = [...qkv, "blockStarts", "blockColumns"];
const listedGrad: readonly AttentionGradInput[] = [...grad, "blockStarts", "blockColumns"];

checkWasm(blockSparseAttentionOp, attentionWasm, [
  {
    inputs: [[2, 75, 3, 8], [2, 110, 3, 8], [2, 110, 3, 8], starts, columns],
    params: { ...free, blockSize: [16, 24], inputs: listed },
  },
  {
    inputs: [[1, 75, 3, 8], [1, 110, 1, 8], [1, 110, 1, 5], starts, columns],
    params: { ...causal, left: 50, softCap: 2, blockSize: [16, 24], inputs: listed },
  },
  // rows of few queries; more keys than are taken at once, not a multiple of them
  {
    inputs: [[2, 61, 2, 12], [2, 203, 1, 12], [2, 203, 1, 7], ...drawnLists(8, 26, 0.6, 3)],
    params: { ...free, blockSize: [8, 8], inputs: listed },
  },
  {
    inputs: [
      [1, 61, 2, 8],
      [1, 190, 2, 8],
      [1, 190, 2, 8],
      { shape: [2], sample: uniform(0.1, 0.5) },
      lengths(171),
      lengths(60),
      ...drawnLists(21, 38, 0.7, 4),
    ],
    params: {
      ...causal,
      left: 120,
      softCap: 3,
      blockSize: [3, 5],
      inputs: [...qkv, "slopes", "keyLengths", "queryLengths", "blockStarts", "blockColumns"],
    },
  },
  // lists of each head; rows of blocks that are no multiple of a tile
  {
    inputs: [
      [1, 50, 2, 8],
      [1, 50, 2, 8],
      [1, 50, 2, 8],
      { shape: [2], sample: uniform(0.1, 0.5) },
      ints([2, 4], [0, 1, 2, 4, 4, 4, 7, 8]),
      ints([8], [2, 0, 4, 1, 9, 2, 0, 4]),
    ],
    params: { ...free, blockSize: [21, 10], inputs: [...qkv, "slopes", "blockStarts", "blockColumns"] },
  },
  {
    inputs: [
      [3, 75, 1, 8],
      [3, 110, 1, 8],
      [3, 110, 1, 8],
      lengths(110, 43, 0),
      lengths(75, 33, 20),
      starts,
      columns,
    ],
    params: {
      ...causal,
      blockSize: [16, 24],
      inputs: [...qkv, "keyLengths", "queryLengths", "blockStarts", "blockColumns"],
    },
  },
]);

checkWasm(blockSparseAttentionGradOp, attentionGradWasm, [
  {
    inputs: [
      [2, 75, 4, 8],
      [2, 110, 2, 8],
      [2, 110, 2, 13],
      [2, 75, 4, 13],
      lse(2, 4, 75),
      [2, 4, 75],
      starts,
      columns,
    ],
    params: { ...free, blockSize: [16, 24], inputs: listedGrad },
  },
  {
    inputs: [
      [2, 61, 4, 12],
      [2, 203, 2, 12],
      [2, 203, 2, 7],
      [2, 61, 4, 7],
      lse(2, 4, 61),
      [2, 4, 61],
      ...drawnLists(8, 26, 0.6, 5),
    ],
    params: { ...free, scale: 0.2, blockSize: [8, 8], inputs: listedGrad },
  },
  {
    inputs: [
      [1, 61, 1, 8],
      [1, 190, 1, 8],
      [1, 190, 1, 24],
      [1, 61, 1, 24],
      lse(1, 1, 61),
      [1, 1, 61],
      ...drawnLists(21, 38, 0.7, 6),
    ],
    params: { ...causal, softCap: 2, blockSize: [3, 5], inputs: listedGrad },
  },
  {
    inputs: [
      [1, 50, 2, 8],
      [1, 50, 2, 8],
      [1, 50, 2, 8],
      [1, 50, 2, 8],
      lse(1, 2, 50),
      [1, 2, 50],
      ints([2, 4], [0, 1, 2, 4, 4, 4, 7, 8]),
      ints([8], [2, 0, 4, 1, 9, 2, 0, 4]),
    ],
    params: { ...causal, softCap: 2, blockSize: [21, 10], inputs: listedGrad },
  },
]);

test("memory beyond inputs and outputs grows no faster than the sequence, for lists of a constant number of blocks a row", () => {
  const side = 8;
  const bytes = <P>(source: WasmSource<P>, params: P, names: readonly string[], length: number): number => {
    const rows = length / side;
    const shapes: Readonly<Record<string, number[]>> = {
      lse: [1, 2, length],
      delta: [1, 2, length],
      blockStarts: [1, rows + 1],
      blockColumns: [4 * rows],
    };
    const viewOf = (name: string) => ({
      ...contiguous(shapes[name] ?? [1, length, 2, 16]),
      dtype: name.startsWith("block") ? ("i32" as const) : ("f32" as const),
    });
    const outputs = (names.includes("dy") ? ["q", "k", "v"] : ["q", "lse"]).map(viewOf);
    const call = { inputs: names.map(viewOf), outputs, params } as WasmCall<P>;
    const lowered = source.lower(call, { width: 2, relaxed: true });
    if (typeof lowered === "string") throw new Error(lowered);
    const temps = (lowered.temps ?? []).reduce((a, b) => a + b, 0);
    return temps + Math.max(...lowered.steps.map((step) => step.scratchBytes ?? 0));
  };
  for (const length of [512, 4096, 32_768]) {
    const forward = { ...causal, blockSize: [side, side] as const, inputs: listed };
    expect(bytes(attentionWasm, forward, listed, 8 * length)).toBe(
      bytes(attentionWasm, forward, listed, length),
    );
    const backward = { ...forward, inputs: listedGrad };
    const ratio =
      bytes(attentionGradWasm, backward, listedGrad, 8 * length) /
      bytes(attentionGradWasm, backward, listedGrad, length);
    expect(ratio).toBeGreaterThan(1);
    expect(ratio).toBeLessThanOrEqual(8);
  }
});
