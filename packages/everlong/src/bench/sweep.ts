// `npm run bench -- sweep`: the six runs of a MAD setting as `mad sweep` trains them, beside the same runs on their own: steps,
// and whole settings from the command line.

import { EverlongError, random, tensor, type Tensor } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import { crossEntropy } from "@everlong/kernels";
import { LanguageModel, type ChannelMixer, type Mixer } from "@everlong/nn";
import { AdamW, runsTogether, Sweep, trainStep, type LossFunction } from "@everlong/train";
import { MIXERS, tokens, type MixerKind } from "./mad-step.ts";
import { selfPeer, torchPeer } from "./peers.ts";
import type { BenchCase, Peer, Suite } from "./suite.ts";
import { wholeSettings } from "./whole-setting.ts";

const [LENGTH, DIM, VOCAB] = [128, 128, 16];
/** MAD's learning rates and weight decays. */
const RUNS = [1e-4, 5e-4, 1e-3].flatMap((learningRate) =>
  [0, 0.1].map((weightDecay) => ({ learningRate, weightDecay })),
);

/** A setting of the bench: MAD trains with a batch of 128; the small ones show where one step for all pays. */
interface Setting {
  readonly kind: MixerKind;
  readonly batch: number;
}

function makeModel(kind: MixerKind): LanguageModel {
  const mixer = MIXERS[kind];
  return new LanguageModel({
    key: random.key(1),
    vocabSize: VOCAB,
    dim: DIM,
    maxLength: LENGTH,
    layers: [mixer, "swiglu", mixer, "swiglu"],
  });
}

const lossOf =
  (model: LanguageModel): LossFunction =>
  ({ ids }) =>
    crossEntropy(model.forward(ids!), ids!);

const batchOf = (size: number): Tensor => tensor(tokens(size), [size, LENGTH]);

/** Training runs made ready. */
interface Started {
  /** The losses of one step of every run. */
  readonly losses: () => Promise<number[]>;
  readonly close: () => void;
}

/** Runs on their own: each step is one of every run, one after the other. */
function separate({ kind, batch }: Setting, runs: typeof RUNS): Started {
  const steps = runs.map((run) => {
    const model = makeModel(kind);
    return trainStep({ optimizer: new AdamW(model, { ...run, hints: false }), loss: lossOf(model), clip: 1 });
  });
  const ids = batchOf(batch);
  return {
    losses: async () => {
      const losses: number[] = [];
      for (const { run, names } of steps) {
        const out = run({ ids });
        losses.push((await out.data())[names.indexOf("loss")]!);
        out[Symbol.dispose]();
      }
      return losses;
    },
    close: () => steps.forEach((s) => s.run.dispose()),
  };
}

function together({ kind, batch }: Setting, runs: typeof RUNS = RUNS): Started {
  const model = makeModel(kind);
  const optimizer = new AdamW(model, { learningRate: 1, hints: false });
  const side = runsTogether(runs.length, batch * LENGTH);
  const sweep = new Sweep({ loss: lossOf(model), optimizer, runs, clip: 1, together: side });
  const ids = batchOf(batch);
  return {
    losses: async () => (await sweep.advance({ ids }, 1)).map((r) => r!["loss"]!),
    close: () => sweep.dispose(),
  };
}

/** Largest relative difference of the losses after a few steps of the sweep and of the runs on their own. */
async function deviation({ kind, batch }: Setting): Promise<number> {
  const small = { kind, batch: Math.min(batch, 16) };
  const [swept, apart] = [together(small), separate(small, RUNS)];
  let worst = 0;
  for (let i = 0; i < 4; i++) {
    const [a, b] = [await swept.losses(), await apart.losses()];
    a.forEach((x, s) => (worst = Math.max(worst, Math.abs(x - b[s]!) / Math.abs(b[s]!))));
  }
  swept.close();
  apart.close();
  return worst;
}

/** Runs in this process, on some threads. */
const inProcess = (name: string, threads: number, start: () => Started): Peer => ({
  name,
  prepare: async () => {
    const runs = start();
    const run = async (): Promise<number> => {
      cpu.setThreads(threads);
      const began = performance.now();
      await runs.losses();
      return performance.now() - began;
    };
    await run();
    return { run, close: runs.close };
  },
});

const labelOf = ({ kind, batch }: Setting): string => `${kind}, ${batch} x ${LENGTH}`;
const halfName = (setting: Setting, half: number): string => `half ${half} of six runs, ${labelOf(setting)}`;

/** As `mad sweep` trains a setting when no other waits: two workers with one thread each, three runs in either. */
async function halves(setting: Setting): Promise<{ run: () => Promise<void>; close: () => void }> {
  const made = await Promise.all(
    [0, 1].map((half) => selfPeer("half", "sweep", halfName(setting, half), ["--threads", "1"]).prepare()),
  );
  const started = made.filter((p) => typeof p !== "string");
  const close = (): void => started.forEach((p) => void p.close());
  const missing = made.find((p) => typeof p === "string");
  if (missing !== undefined) {
    close();
    throw new EverlongError("bench", `a worker did not start: ${missing}`);
  }
  return { run: async () => void (await Promise.all(started.map((p) => p.run()))), close };
}

/** Six of PyTorch's steps. */
function torchSix({ kind, batch }: Setting): Peer {
  const one = torchPeer(kind, batch, 2);
  return {
    name: "torch, one after the other",
    prepare: async () => {
      const made = await one.prepare();
      if (typeof made === "string") return made;
      const run = async (): Promise<number> => {
        let sum = 0;
        for (const _ of RUNS) sum += await made.run();
        return sum;
      };
      return { run, close: made.close };
    },
  };
}

/** Floating-point operations of a step of all runs; the backward pass does twice the forward pass's. */
function flopsOf({ kind, batch }: Setting): number {
  const layers = makeModel(kind).layers.map((b) => (b.mixer as Mixer | ChannelMixer).flops(LENGTH));
  const forward = layers.reduce((a, b) => a + b, 2 * LENGTH * DIM * VOCAB);
  return 3 * forward * batch * RUNS.length;
}

const sweepCase = (setting: Setting): BenchCase => ({
  name: `step of six runs, ${labelOf(setting)}`,
  unit: "ms",
  tolerance: 1e-5,
  threads: 2,
  repeats: setting.batch > 32 ? 5 : 9,
  limit: ({ peak256 }) => peak256 && flopsOf(setting) / (2 * peak256) / 1e6,
  peers: [
    inProcess("one after the other on two threads", 2, () => separate(setting, RUNS)),
    inProcess("on one", 1, () => separate(setting, RUNS)),
    inProcess("one process, two threads", 2, () => together(setting)),
    torchSix(setting),
  ],
  prepare: async () => ({ ...(await halves(setting)), error: () => deviation(setting) }),
});

const halfCase = (setting: Setting, half: number): BenchCase => ({
  name: halfName(setting, half),
  unit: "ms",
  tolerance: 0,
  peers: [],
  prepare: () => {
    const runs = together(
      setting,
      RUNS.filter((_, i) => i % 2 === half),
    );
    return Promise.resolve({
      run: async () => void (await runs.losses()),
      close: runs.close,
      error: () => Promise.resolve(0),
    });
  },
});

const SETTINGS: readonly Setting[] = [128, 16, 4, 1].flatMap((batch) =>
  (["attention", "hyena"] as const).map((kind) => ({ kind, batch })),
);

export const sweepSuite: Suite = {
  name: "sweep",
  describe: "the six runs of a MAD setting trained together, beside the same runs on their own, float32",
  cases: () => [...SETTINGS.map(sweepCase), ...wholeSettings],
  served: () => SETTINGS.flatMap((setting) => [0, 1].map((half) => halfCase(setting, half))),
};
