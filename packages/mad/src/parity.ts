// Cases of the original's data and metrics, computed by ours. None of these needs a device.

import {
  defaultRng,
  parityNumbers,
  Pcg64,
  RandomState,
  type ParityCase,
  type ParityResult,
  type ParityRun,
  type ParityTensor,
} from "@everlong/data";
import { TaskMeter } from "./metrics.ts";
import { generateSplits, type TaskData } from "./tasks/generate.ts";
import { memorizationMap } from "./tasks/memorization.ts";
import { optionsFromOriginal } from "./tasks/options.ts";
import { TASKS } from "./tasks/registry.ts";
import type { Task } from "./tasks/task.ts";

/** By original class: the case's `cls` up to its first space. */
export const parity: Readonly<Record<string, ParityRun>> = {
  ...Object.fromEntries(TASKS.map((task) => [originalName(task), (c: ParityCase) => runTask(task, c)])),
  "mad.metrics.Accuracy": runMetrics,
};

function originalName(task: Task): string {
  return `mad.data.instances.generate_${task.name.replaceAll("-", "_")}_instance`;
}

function runTask(task: Task, c: ParityCase): ParityResult {
  const { seed, numpy_legacy_seed: globalSeed } = c.json as {
    seed: number;
    numpy_legacy_seed: number | null;
  };
  const options = optionsFromOriginal(task.optionNames, c.args);
  const { train, test } = generateSplits(
    { task, options, seed, compat: true, ...(globalSeed === null ? {} : { globalSeed }) },
    { train: rows(c, "train.inputs"), test: rows(c, "test.inputs") },
  );
  const results = new Map<string, ParityTensor>([
    ["train.inputs", grid(train, train.inputs)],
    ["train.targets", grid(train, train.targets)],
    ["test.inputs", grid(test, test.inputs)],
    ["test.targets", grid(test, test.targets)],
  ]);
  const list = (name: string, make: (n: number) => ArrayLike<number> | BigInt64Array): void => {
    if (!c.tensors.has(name)) return;
    const data = make(rows(c, name));
    results.set(name, { shape: [data.length], data });
  };
  list("pcg64.raw", (n) => {
    const bits = new Pcg64(seed);
    return BigInt64Array.from({ length: n }, () => BigInt.asIntN(64, bits.uint64()));
  });
  list("pcg64.random", (n) => defaultRng(seed).random(n));
  list("pcg64.choice10", (n) => defaultRng(seed).choice(10, n));
  const { vocab_size: vocabSize, num_tokens_to_copy: copied } = c.args as Record<string, number>;
  list("kv_map.keys", () => memorizationMap(vocabSize! - 1, seed).keys);
  list("kv_map.values", () => memorizationMap(vocabSize! - 1, seed).values);
  list("legacy.insert_indices_train0", (n) => new RandomState(globalSeed ?? seed).randint(0, copied!, n));
  return { tensors: results };
}

interface MetricArgs {
  readonly num_classes: number;
  readonly ignore_index?: number;
  readonly average?: string;
}

function runMetrics(c: ParityCase): ParityResult {
  const { num_classes: numClasses, ignore_index: ignoreIndex, average } = c.args as unknown as MetricArgs;
  const accuracy = String(average).startsWith("micro") ? "tokenAccuracy" : "macroAccuracy";
  const meter = new TaskMeter(numClasses, ignoreIndex);
  const accuracies: number[] = [];
  const perplexities: number[] = [];
  for (let i = 0; c.tensors.has(`in.logits.${i}`); i++) {
    const { data: logits } = parityNumbers(c, `in.logits.${i}`);
    const targets = parityNumbers(c, `in.targets.${i}`);
    const scores = meter.addLogits(logits, targets.data, targets.shape[0]);
    accuracies.push(scores[accuracy]);
    perplexities.push(scores.perplexity);
  }
  const epoch = meter.scores();
  return {
    tensors: new Map([
      ["out.batch_accuracy", { shape: [accuracies.length], data: accuracies }],
      ["out.batch_perplexity", { shape: [perplexities.length], data: perplexities }],
      ["out.epoch", { shape: [2], data: [epoch[accuracy], epoch.perplexity] }],
    ]),
  };
}

const grid = ({ count, length }: TaskData, data: Int32Array): ParityTensor => ({
  shape: [count, length],
  data,
});

const rows = (c: ParityCase, name: string): number => parityNumbers(c, name).shape[0] ?? 0;
