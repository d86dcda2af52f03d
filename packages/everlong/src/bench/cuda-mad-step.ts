// Training steps of MAD's small models on the GPU (B 128, T 128, D 128, four layers, AdamW) in each precision, beside PyTorch's.

import { device, tensor, withDevice } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { AdamW, trainStep, type Precision, type StepFunction } from "@everlong/train";
import { cudaTorchPeer, finish } from "./cuda-torch.ts";
import { BYTES_PER_MS } from "./cuda-work.ts";
import { madModel, tokens, type MixerKind } from "./mad-step.ts";
import { selfPeer } from "./peers.ts";
import type { BenchCase } from "./suite.ts";

const [BATCH, LENGTH, DIM] = [128, 128, 128];
/** Steps of one run, of ours and of the peers. */
const STEPS = 10;
/** Steps and rows of the comparison with the CPU's losses. */
const [CHECKED, ROWS] = [10, 8];

/** What an H100 multiplies at most: dense tensor cores, or its own units for f32. */
const FLOPS_PER_MS: Readonly<Record<Precision, number>> = { f32: 67e9, bf16: 989e9 };

/**
 * Passes over a tensor `[B, T, D]` that a step must make: what a kernel reads and writes when projections, mixers, gates, norms and weight
 * gradients are one kernel each and residual sums ride along.
 */
const PASSES: Readonly<Record<MixerKind, number>> = { attention: 191, hyena: 223 };
/** Of them, what two gated linear units spare that are one kernel forward and one backward, as in half precision. */
const SPARED = 64;

/** Multiply-adds of the products of a step, the backward pass twice the forward pass. */
const FLOPS = 3 * 2 * BATCH * LENGTH * 2 * (DIM * 3 * DIM + DIM * DIM + 3 * DIM * 352);

const floor = (kind: MixerKind, precision: Precision): number => {
  const passes = PASSES[kind] - (precision === "bf16" ? SPARED : 0);
  const bytes = passes * BATCH * LENGTH * DIM * (precision === "bf16" ? 2 : 4);
  return Math.max(bytes / BYTES_PER_MS, FLOPS / FLOPS_PER_MS[precision]);
};

function stepOn(kind: MixerKind, precision: Precision): StepFunction {
  const model = madModel(kind);
  const optimizer = new AdamW(model, { learningRate: 1e-3, weightDecay: 0.1 });
  return trainStep({ optimizer, precision, loss: ({ ids }) => crossEntropy(model.forward(ids!), ids!) });
}

/** The loss after a few steps on few rows. */
const lossOn = (name: string, kind: MixerKind, precision: Precision): Promise<number> =>
  withDevice(device(name), async () => {
    const { run } = stepOn(kind, precision);
    const ids = tensor(tokens(ROWS), [ROWS, LENGTH]);
    let loss = Number.NaN;
    for (let i = 0; i < CHECKED; i++) [loss] = (await run({ ids }).data()) as unknown as [number];
    run.dispose();
    return loss;
  });

/** Largest relative difference of the loss from the CPU's float32. */
const BAND: Readonly<Record<Precision, number>> = { f32: 1e-3, bf16: 3e-2 };

function stepCase(kind: MixerKind, precision: Precision): BenchCase {
  const name = `mad-step ${kind} ${precision}`;
  const torch = (mode: string, format: string): BenchCase["peers"][number] =>
    cudaTorchPeer(`torch ${mode} ${format}`, `step ${kind} ${format} ${mode} ${BATCH}`, STEPS);
  const formats = precision === "f32" ? ["f32", "tf32"] : ["bf16"];
  const own =
    precision === "f32"
      ? [selfPeer("ours, TF32 products", "cuda", name, [], { EVERLONG_CUBLAS: "tf32" })]
      : [];
  return {
    name,
    unit: "ms",
    toUnit: (ms) => ms / STEPS,
    tolerance: BAND[precision],
    repeats: 9,
    peers: [...own, ...formats.flatMap((f) => ["eager", "compiled"].map((mode) => torch(mode, f)))],
    limit: () => floor(kind, precision),
    prepare: () =>
      withDevice(device("cuda"), async () => {
        const { run } = stepOn(kind, precision);
        const ids = tensor(tokens(BATCH), [BATCH, LENGTH]);
        await run({ ids }).data();
        return {
          run: () => {
            for (let i = 0; i < STEPS; i++) run({ ids })[Symbol.dispose]();
            finish();
          },
          error: async () => {
            const [ours, cpu] = [await lossOn("cuda", kind, precision), await lossOn("cpu", kind, "f32")];
            return Math.abs(ours - cpu) / Math.abs(cpu);
          },
          close: () => run.dispose(),
        };
      }),
  };
}

export const cudaMadStepCases = (): BenchCase[] =>
  (["attention", "hyena"] as const).flatMap((kind) =>
    (["bf16", "f32"] as const).map((precision) => stepCase(kind, precision)),
  );
