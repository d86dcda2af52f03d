// `everlong mad quick`: four architectures on three tasks, small enough for minutes on two cores, large enough to tell
// them apart.

import type { Architecture } from "./architecture.ts";
import type { RunConfig } from "./run.ts";

/** Both mixers see queries, keys and values through short convolutions; without them attention needs ten times the steps. */
const ATTENTION = { layer: "mh-attention", options: { heads: 4, shortConv: true } } as const;
const HYENA = {
  layer: "hyena",
  options: {
    innerFactor: 1,
    projectionGroups: 1,
    filterWidth: 32,
    embeddingDim: 17,
    frequency: 10,
    modulate: false,
    filterLearningRate: 5e-3,
  },
} as const;

/** Two mixers with memory, and two baselines without: a stack of short convolutions, an MLP that sees one position. */
export const QUICK_ARCHITECTURES: readonly Architecture[] = [
  { name: "attention + SwiGLU", layers: [ATTENTION, "swiglu", ATTENTION, "swiglu"] },
  { name: "Hyena + SwiGLU", layers: [HYENA, "swiglu", HYENA, "swiglu"] },
  { name: "short convolution", layers: ["short-conv", "short-conv", "short-conv", "short-conv"] },
  { name: "MLP", layers: ["mlp", "mlp", "mlp", "mlp"] },
];

interface QuickTask {
  readonly task: string;
  readonly taskOptions: RunConfig["taskOptions"];
  readonly steps: number;
  readonly learningRate: number;
}

const QUICK_TASKS: readonly QuickTask[] = [
  { task: "in-context-recall", taskOptions: { vocabSize: 16, seqLen: 64 }, steps: 800, learningRate: 5e-3 },
  {
    task: "selective-copying",
    taskOptions: { vocabSize: 16, seqLen: 64, numTokensToCopy: 16 },
    steps: 600,
    learningRate: 3e-3,
  },
  { task: "compression", taskOptions: { vocabSize: 16, seqLen: 64 }, steps: 500, learningRate: 2e-3 },
];

/** The twelve runs, tasks in order; the runs that take longest come first within a task. */
export function quickConfigs(seed: number): RunConfig[] {
  return QUICK_TASKS.flatMap(({ task, taskOptions, steps, learningRate }) =>
    QUICK_ARCHITECTURES.map((architecture) => ({
      architecture,
      task,
      ...(taskOptions ? { taskOptions } : {}),
      dim: 64,
      trainRows: 12_800,
      testRows: 256,
      batch: 32,
      steps,
      learningRate,
      warmup: 50,
      weightDecay: 0,
      clip: 1,
      stopAt: 0.999,
      seed,
    })),
  );
}
