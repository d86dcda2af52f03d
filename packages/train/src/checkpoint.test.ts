import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { random, type Tensor } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { LanguageModel, stateDict } from "@everlong/nn";
import { afterAll, expect, test } from "vitest";
import { AdamW } from "./adamw.ts";
import { loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { fit } from "./fit.ts";
import { cosine } from "./schedule.ts";
import type { Batch } from "./train-step.ts";

const folder = mkdtempSync(join(tmpdir(), "checkpoint-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "last.safetensors");

interface Run {
  readonly model: LanguageModel;
  readonly optimizer: AdamW;
}
const make = (dim = 8): Run => {
  const model = new LanguageModel({
    key: random.key(1),
    vocabSize: 5,
    dim,
    maxLength: 6,
    layers: [{ layer: "mA", options: { heads: 2 } }, "hyena"],
    embedDropout: 0.2,
  });
  return { model, optimizer: new AdamW(model, { learningRate: 0.01, weightDecay: 0.1 }) };
};

function* batches(from: number): Generator<Batch> {
  for (let i = from; ; i++) yield { ids: random.integers(random.key(i), [3, 6], 0, 5) };
}

const go = ({ model, optimizer }: Run, from: number, until: number): Promise<unknown> =>
  fit({
    optimizer,
    batches: batches(from),
    from,
    steps: 12,
    schedule: cosine({ steps: 12, warmup: 3 }),
    loss: ({ ids }, { key }): Tensor => crossEntropy(model.forward(ids!, { key }), ids!),
    onStep: ({ step }) => step < until,
  });

const bits = async (run: Run): Promise<unknown> =>
  Promise.all([...stateDict(run.model)].map(async ([name, t]) => [name, [...(await t.data())]]));

test("a run that goes on equals one that never stopped", async () => {
  const whole = make();
  await go(whole, 0, 12);
  const first = make();
  await go(first, 0, 5);
  await saveCheckpoint(path, first, { step: 5, note: "half way" });
  const second = make();
  expect(await loadCheckpoint(path, second)).toEqual({ step: 5, note: "half way" });
  expect(await second.optimizer.step.value.item()).toBe(5);
  await go(second, 5, 12);
  expect(await bits(second)).toEqual(await bits(whole));
  expect(await bits(first)).not.toEqual(await bits(whole));
});

test("a model alone: written, and read from a run's checkpoint", async () => {
  const run = make();
  await go(run, 0, 3);
  await saveCheckpoint(path, run);
  const from = make();
  await loadCheckpoint(path, { model: from.model });
  expect(await bits(from)).toEqual(await bits(run));
  expect(await from.optimizer.step.value.item()).toBe(0);
  await saveCheckpoint(path, { model: run.model }, { step: 3 });
  const again = make();
  expect(await loadCheckpoint(path, { model: again.model })).toEqual({ step: 3 });
  expect(await bits(again)).toEqual(await bits(run));
  await expect(loadCheckpoint(path, again)).rejects.toThrow(/missing optimizer\./);
});

test("what does not fit is an error and changes nothing", async () => {
  await saveCheckpoint(path, make());
  const other = make(16);
  const before = await bits(other);
  await expect(loadCheckpoint(path, other)).rejects.toThrow(
    /has another shape: expected \[5, 16\], got \[5, 8\]/,
  );
  expect(await bits(other)).toEqual(before);
  const model = new LanguageModel({
    key: random.key(1),
    vocabSize: 5,
    dim: 8,
    maxLength: 6,
    layers: ["hyena"],
  });
  const optimizer = new AdamW(model, { learningRate: 0.1 });
  await expect(loadCheckpoint(path, { model, optimizer })).rejects.toThrow(
    /checkpoint and run differ: got missing .*unexpected .*model\.layers\.1/,
  );
});

test("a truncated or foreign file is an error", async () => {
  await saveCheckpoint(path, make());
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.subarray(0, bytes.length - 7));
  await expect(loadCheckpoint(path, make())).rejects.toThrow(/last\.safetensors/);
  const { saveSafetensors } = await import("@everlong/data");
  await saveSafetensors(path, { x: { dtype: "F32", shape: [1], data: new Float32Array(1) } });
  await expect(loadCheckpoint(path, make())).rejects.toThrow(
    /is not a checkpoint: expected format "everlong-checkpoint-1", got no format/,
  );
});
