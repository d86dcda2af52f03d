// Whole training steps: B 128, T 128, D 128, four layers (mixer and SwiGLU twice), AdamW.

import { random, tensor, device, withDevice } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import { crossEntropy } from "@everlong/kernels";
import { LanguageModel } from "@everlong/nn";
import { AdamW, trainStep } from "@everlong/train";
import { narrowSelf, torchPeer } from "./peers.ts";
import type { BenchCase } from "./suite.ts";

const [BATCH, LENGTH, DIM, VOCAB] = [128, 128, 128, 16];

export type MixerKind = "attention" | "hyena";

export const MIXERS = {
  attention: { layer: "mh-attention", options: { heads: 16 } },
  hyena: {
    layer: "hyena",
    options: { innerFactor: 1, projectionGroups: 1, filterWidth: 32, embeddingDim: 17, frequency: 10 },
  },
} as const;

/** The model of the step benches. */
export function madModel(kind: MixerKind): LanguageModel {
  const mixer = MIXERS[kind];
  const key = random.key(1);
  return new LanguageModel({
    key,
    vocabSize: VOCAB,
    dim: DIM,
    maxLength: LENGTH,
    layers: [mixer, "swiglu", mixer, "swiglu"],
  });
}

/** Tokens that repeat with a period, so that a few steps lower the loss. */
export const tokens = (batch: number): Int32Array =>
  Int32Array.from({ length: batch * LENGTH }, (_, i) => (i * 5 + (i >> 7)) % VOCAB);

function stepCase(kind: MixerKind, threads: number): BenchCase {
  const name = `mad step, ${kind}${threads > 1 ? `, ${threads} threads` : ""}`;
  return {
    name,
    unit: "ms",
    tolerance: 1e-4,
    threads,
    repeats: 5,
    peers: [...(threads === 1 ? [narrowSelf(name)] : []), torchPeer(kind, 0, threads)],
    prepare: async () => {
      cpu.setThreads(threads);
      const model = madModel(kind);
      const optimizer = new AdamW(model, { learningRate: 1e-3, weightDecay: 0.1 });
      const step = trainStep({
        optimizer,
        loss: ({ ids }) => crossEntropy(model.forward(ids!), ids!),
      });
      const ids = tensor(tokens(BATCH), [BATCH, LENGTH]);
      return {
        run: async () => {
          await step.run({ ids }).data();
        },
        close: () => step.run.dispose(),
        error: () => lossDeviation(kind),
      };
    },
  };
}

/** The loss of a small batch against float64, relative. */
async function lossDeviation(kind: MixerKind): Promise<number> {
  const loss = (name: string): Promise<number> =>
    withDevice(device(name), async () => {
      const model = madModel(kind);
      const ids = tensor(tokens(1), [1, LENGTH]);
      return crossEntropy(model.forward(ids), ids).item();
    });
  const [ours, exact] = [await loss("cpu"), await loss("reference")];
  return Math.abs(ours - exact) / Math.abs(exact);
}

export const madStepCases = (): BenchCase[] => [
  stepCase("attention", 1),
  stepCase("hyena", 1),
  stepCase("attention", 2),
  stepCase("hyena", 2),
];
