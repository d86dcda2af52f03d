import { expect, test } from "vitest";
import type { ParityTensor } from "@everlong/data";
import { parity } from "./parity.ts";

const shapeOnly = (...shape: number[]): ParityTensor => ({ shape, data: [] });

test("a data case, under the original's names", () => {
  const args = {
    vocab_size: 8,
    seq_len: 14,
    frac_noise: 0,
    noise_vocab_size: 0,
    num_tokens_to_copy: 4,
    k_motif_size: 1,
    v_motif_size: 1,
    multi_query: true,
  };
  const tensors = new Map([
    ["train.inputs", shapeOnly(1, 14)],
    ["test.inputs", shapeOnly(1, 14)],
    ["legacy.insert_indices_train0", shapeOnly(5)],
    ["pcg64.raw", shapeOnly(2)],
  ]);
  const run = parity["mad.data.instances.generate_selective_copying_instance"]!;
  const { tensors: results } = run({ args, json: { seed: 7, numpy_legacy_seed: 3 }, tensors });
  const values = (name: string): number[] => Array.from(results.get(name)!.data as ArrayLike<number>, Number);
  expect(values("train.inputs")).toEqual([6, 6, 5, 6, 3, 6, 4, 6, 5, 7, 6, 6, 6, 6]);
  expect(values("test.targets").slice(-4)).toEqual([3, 4, 5, 1]);
  expect(values("legacy.insert_indices_train0").toSorted((a, b) => Number(a) - Number(b))).toEqual([
    0, 0, 1, 2, 3,
  ]);
  expect(results.get("pcg64.raw")!.data).toBeInstanceOf(BigInt64Array);
  expect(results.has("kv_map.keys")).toBe(false);
});

test("a metric case", () => {
  const logits = (shape: number[], data: number[]): ParityTensor => ({ shape, data });
  const tensors = new Map([
    ["in.logits.0", logits([1, 2, 2], [0, 0, 0, 9])],
    ["in.targets.0", logits([1, 2], [0, -100])],
    ["in.logits.1", logits([1, 2, 2], [0, 1, 0, 1])],
    ["in.targets.1", logits([1, 2], [0, 1])],
  ]);
  const args = { num_classes: 2, ignore_index: -100, average: "macro (torchmetrics default!)" };
  const { tensors: macro } = parity["mad.metrics.Accuracy"]!({ args, json: {}, tensors });
  expect(macro.get("out.batch_accuracy")).toEqual({ shape: [2], data: [1, 0.5] });
  expect((macro.get("out.epoch")!.data as number[])[0]).toBe(0.75);
  const { tensors: micro } = parity["mad.metrics.Accuracy"]!({
    args: { ...args, average: "micro" },
    json: {},
    tensors,
  });
  expect((micro.get("out.epoch")!.data as number[])[0]).toBeCloseTo(2 / 3, 15);
});

test("an incomplete case", () => {
  const run = parity["mad.data.instances.generate_compression_instance"]!;
  const empty = {
    args: { vocab_size: 16, seq_len: 32 },
    json: { seed: 1, numpy_legacy_seed: null },
    tensors: new Map(),
  };
  expect(() => run(empty)).toThrow(/no tensor "train.inputs"/);
});
