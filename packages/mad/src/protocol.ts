// The MAD benchmark as plain data: 66 settings (a baseline for each task and changes of one option at a time), each
// trained with 6 pairs of learning rate and weight decay. M. Poli et al., arXiv:2403.17844; athms/mad-lab configs/tasks.

import { generateSplits, type GenerateOptions, type TaskData } from "./tasks/generate.ts";
import type { TaskOptions } from "./tasks/options.ts";
import { findTask } from "./tasks/registry.ts";
import type { Split } from "./tasks/task.ts";

/** What distinguishes a setting of a task from its baseline. */
export type SettingChange = {
  readonly [K in keyof Difficulty]: { readonly option: K; readonly value: Difficulty[K] };
}[keyof Difficulty];

type Difficulty = Omit<TaskOptions, "multiQuery"> & { readonly trainCount: number };

/** One setting of the benchmark. */
export interface MadSetting {
  /** Unique and readable, e.g. "in-context-recall", "in-context-recall/vocabSize=32". */
  readonly id: string;
  readonly task: string;
  /** Every option of the task. */
  readonly options: Partial<TaskOptions>;
  readonly trainCount: number;
  readonly testCount: number;
  /** Absent for the baseline. */
  readonly change?: SettingChange;
}

/** One training run of the benchmark. */
export interface MadRun {
  readonly setting: MadSetting;
  readonly learningRate: number;
  readonly weightDecay: number;
}

/** A task's baseline and the values that its settings change, one option at a time. */
interface TaskProtocol {
  readonly baseline: Partial<TaskOptions> & { readonly trainCount: number };
  readonly changes: { readonly [K in keyof Difficulty]?: readonly Difficulty[K][] };
}

const TEST_COUNT = 1280;
const VOCABULARIES = [32, 64, 128];
const LENGTHS = [256, 512, 1024];
const TRAIN_COUNTS = [6400, 3200, 1600, 800];

/** Baselines and changes by task. */
export const TASK_PROTOCOLS: Readonly<Record<string, TaskProtocol>> = {
  "in-context-recall": {
    baseline: { vocabSize: 16, seqLen: 128, multiQuery: true, trainCount: 12_800 },
    changes: { vocabSize: VOCABULARIES, seqLen: LENGTHS, trainCount: TRAIN_COUNTS },
  },
  "noisy-in-context-recall": {
    baseline: {
      vocabSize: 32,
      noiseVocabSize: 16,
      seqLen: 128,
      trainCount: 12_800,
      multiQuery: true,
      fracNoise: 0.2,
    },
    // 16 tokens of each vocabulary are noise
    changes: {
      vocabSize: [48, 80, 144],
      seqLen: LENGTHS,
      trainCount: TRAIN_COUNTS,
      fracNoise: [0.4, 0.6, 0.8],
    },
  },
  "fuzzy-in-context-recall": {
    baseline: {
      vocabSize: 16,
      seqLen: 128,
      multiQuery: true,
      kMotifSize: 3,
      vMotifSize: 3,
      trainCount: 12_800,
    },
    changes: { vocabSize: VOCABULARIES, seqLen: LENGTHS, trainCount: TRAIN_COUNTS },
  },
  memorization: {
    baseline: { vocabSize: 256, seqLen: 32, trainCount: 256 },
    changes: { vocabSize: [512, 1024, 2048, 4096, 8192] },
  },
  compression: {
    baseline: { vocabSize: 16, seqLen: 32, trainCount: 12_800 },
    changes: { vocabSize: VOCABULARIES, seqLen: [64, 128, 256], trainCount: TRAIN_COUNTS },
  },
  "selective-copying": {
    baseline: { vocabSize: 16, seqLen: 256, numTokensToCopy: 16, trainCount: 12_800 },
    changes: {
      vocabSize: VOCABULARIES,
      seqLen: [512, 1024],
      trainCount: TRAIN_COUNTS,
      numTokensToCopy: [32, 64, 96],
    },
  },
};

/** The 66 settings, by task in the benchmark's order, baselines first. */
export const MAD_SETTINGS: readonly MadSetting[] = Object.entries(TASK_PROTOCOLS).flatMap(
  ([task, protocol]) => {
    const changes = Object.entries(protocol.changes) as [SettingChange["option"], number[]][];
    return [
      makeSetting(task, protocol),
      ...changes.flatMap(([option, values]) =>
        values.map((value) => makeSetting(task, protocol, { option, value } as SettingChange)),
      ),
    ];
  },
);

/** Learning rates and weight decays that every setting is trained with. */
export const MAD_SWEEP: {
  readonly learningRates: readonly number[];
  readonly weightDecays: readonly number[];
} = {
  learningRates: [1e-4, 5e-4, 1e-3],
  weightDecays: [0, 0.1],
};

/** The benchmark's training recipe; `schedule` is what mad-lab asks for and, by a wrong key, never gets. */
export const MAD_TRAINING = {
  optimizer: "adamw",
  betas: [0.9, 0.999],
  schedule: "cosine",
  minLearningRate: 1e-6,
  batchSize: 128,
  epochs: 200,
  seed: 12345,
} as const;

/** The runs of some settings: settings x learning rates x weight decays; 396 for the whole benchmark. */
export function madRuns(settings: readonly MadSetting[] = MAD_SETTINGS): MadRun[] {
  return settings.flatMap((setting) =>
    MAD_SWEEP.learningRates.flatMap((learningRate) =>
      MAD_SWEEP.weightDecays.map((weightDecay) => ({ setting, learningRate, weightDecay })),
    ),
  );
}

/** How {@link settingData} may differ from the published data. */
export type SettingDataOptions = Pick<GenerateOptions, "seed" | "globalSeed" | "seeding" | "compat">;

/**
 * The data of a setting: by default the published benchmark's, mad-lab's faults included (`compat`), since scores are
 * compared with published ones. Only fuzzy recall has such a fault at the published settings.
 */
export function settingData(setting: MadSetting, options: SettingDataOptions = {}): Record<Split, TaskData> {
  const { task, trainCount, testCount } = setting;
  return generateSplits(
    { seed: MAD_TRAINING.seed, compat: true, ...options, task, options: setting.options },
    { train: trainCount, test: testCount },
  );
}

function makeSetting(task: string, { baseline }: TaskProtocol, change?: SettingChange): MadSetting {
  const changed = change ? { ...baseline, [change.option]: change.value } : baseline;
  const { trainCount, ...options } = changed;
  return {
    id: change ? `${task}/${change.option}=${change.value}` : task,
    task,
    options: findTask(task).configure(options).options,
    trainCount,
    testCount: TEST_COUNT,
    ...(change ? { change } : {}),
  };
}
