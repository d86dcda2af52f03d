// One MAD training run: data of a task, a model of an architecture, a loop, a record.

import { checkOptions, ConfigError, tensor } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { isSequenceMixer, parameterCount } from "@everlong/nn";
import { AdamW, cosine, fit, type Batch } from "@everlong/train";
import type { CurvePoint, RunRecord } from "../run-record.ts";
import { generateSplits, type TaskData } from "../tasks/generate.ts";
import type { TaskOptions } from "../tasks/options.ts";
import { findTask } from "../tasks/registry.ts";
import { IGNORE_INDEX } from "../tasks/task.ts";
import { layerNames, type Architecture } from "./architecture.ts";
import { Evaluator } from "./evaluate.ts";
import { shuffledBatches } from "./batches.ts";
import { makeModel, vocabularyOf } from "./model.ts";

/** Everything that determines a run. */
export interface RunConfig {
  readonly architecture: Architecture;
  readonly task: string;
  /** Task options; the rest are the published baseline's. */
  readonly taskOptions?: Partial<TaskOptions>;
  /** Width D. Default 128. */
  readonly dim?: number;
  /** Training rows, drawn once and visited in random order. Default 12,800. */
  readonly trainRows?: number;
  /** Test rows. Default 1,280. */
  readonly testRows?: number;
  /** Default 128. */
  readonly batch?: number;
  readonly steps: number;
  /** Peak learning rate. Default 5e-4. */
  readonly learningRate?: number;
  /** Steps of linear warm-up. Default 0. */
  readonly warmup?: number;
  /** Default 0. */
  readonly weightDecay?: number;
  /** Limit of the global gradient norm. Default 1. */
  readonly clip?: number;
  /** Default 12345. */
  readonly seed?: number;
  /** Steps between points of the curve. Default: 20 points. */
  readonly every?: number;
  /** Ends the run once the test accuracy reaches this at a point of the curve. Default: never. */
  readonly stopAt?: number;
}

const KNOWN = [
  "architecture",
  "task",
  "taskOptions",
  "dim",
  "trainRows",
  "testRows",
  "batch",
  "steps",
  "learningRate",
  "warmup",
  "weightDecay",
  "clip",
  "seed",
  "every",
  "stopAt",
] as const satisfies readonly (keyof RunConfig)[];

/** Called at every point of the curve. */
export type OnPoint = (point: CurvePoint, done: number) => void;

/** Trains and measures on the default device; two runs of one configuration give the same record but for the times. */
export async function trainRun(config: RunConfig, onPoint: OnPoint = () => {}): Promise<RunRecord> {
  checkOptions("mad run", config, KNOWN);
  const { dim = 128, trainRows = 12_800, testRows = 1_280, batch = 128, steps } = config;
  const { learningRate = 5e-4, warmup = 0, weightDecay = 0, clip = 1, seed = 12_345 } = config;
  if (!Number.isInteger(steps) || steps < 1)
    throw new ConfigError("mad run", "steps must be a positive integer", { got: `${steps}` });
  const task = findTask(config.task);
  const what = { task, ...(config.taskOptions ? { options: config.taskOptions } : {}), seed };
  const { train, test } = generateSplits(what, { train: trainRows, test: testRows });
  const { options } = task.configure(config.taskOptions);
  const vocabSize = vocabularyOf(options);
  const model = makeModel({
    task: task.name,
    options,
    layers: config.architecture.layers,
    dim,
    norm: "layer",
    seed,
    maxLength: train.length,
  });
  const optimizer = new AdamW(model, { learningRate, weightDecay });
  const evaluator = new Evaluator(model, test, vocabSize, batch);

  const curve: CurvePoint[] = [];
  const every = config.every ?? Math.max(1, Math.floor(steps / 20));
  let seen = 0;
  let lossSum = 0;
  let lossCount = 0;
  let evaluating = 0;
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const point = async (step: number): Promise<CurvePoint> => {
    const at = performance.now();
    const scores = await evaluator.scores();
    evaluating += performance.now() - at;
    const made: CurvePoint = {
      step,
      seconds: seconds(),
      trainLoss: lossCount > 0 ? lossSum / lossCount : Number.NaN,
      testLoss: scores.loss,
      accuracy: scores.tokenAccuracy,
    };
    [lossSum, lossCount] = [0, 0];
    curve.push(made);
    onPoint(made, step / steps);
    return made;
  };
  await point(0);
  evaluating = 0;
  const start = performance.now();
  await fit({
    optimizer,
    learningRate,
    steps,
    clip,
    schedule: cosine({ steps, warmup, final: 0.01 }),
    loss: ({ inputs, targets }) =>
      crossEntropy(model.forward(inputs!), targets!, { ignoreIndex: IGNORE_INDEX }),
    batches: toTensors(train, batch, seed),
    onStep: async ({ step, loss }) => {
      seen += batch * train.length;
      lossSum += loss;
      lossCount++;
      if (step % every !== 0 && step !== steps) return true;
      const { accuracy } = await point(step);
      return config.stopAt === undefined || accuracy < config.stopAt;
    },
  });
  const training = (performance.now() - start - evaluating) / 1000;
  const scores = await evaluator.scores();
  evaluator.dispose();
  const mixers = model.layers.map((b) => b.mixer).filter(isSequenceMixer);
  return {
    architecture: config.architecture.name,
    layers: layerNames(config.architecture),
    task: task.name,
    seed,
    curve,
    tokenAccuracy: scores.tokenAccuracy,
    macroAccuracy: scores.macroAccuracy,
    testLoss: scores.loss,
    parameters: parameterCount(model),
    stateBytes: mixers.reduce((sum, m) => sum + m.stateBytes(train.length), 0),
    tokensPerSecond: seen / training,
    steps: curve.at(-1)?.step ?? 0,
    seconds: seconds(),
    config: { ...config, dim, trainRows, testRows, batch, learningRate, warmup, weightDecay, clip, seed },
  };
}

/** Shuffled batches as tensors `inputs` and `targets`, `[B, T]` each. */
export function* toTensors(data: TaskData, batch: number, seed: number, from: number = 0): Generator<Batch> {
  for (const { inputs, targets, rows } of shuffledBatches(data, batch, seed, from)) {
    const shape = [rows, data.length];
    yield { inputs: tensor(inputs, shape), targets: tensor(targets, shape) };
  }
}
