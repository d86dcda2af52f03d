// The six runs of a MAD setting as one graph on the GPU, beside six steps one after the other and beside a step of one run (Poli et al. 2024,
// arXiv 2403.17844, train every setting with three learning rates and two weight decays).

import { device, tensor, withDevice } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { AdamW, Sweep, trainStep, type LossFunction } from "@everlong/train";
import type { LanguageModel } from "@everlong/nn";
import { finish } from "./cuda-torch.ts";
import { madModel, tokens, type MixerKind } from "./mad-step.ts";
import type { BenchCase, Peer } from "./suite.ts";

const LENGTH = 128;
const RUNS = [1e-4, 5e-4, 1e-3].flatMap((learningRate) =>
  [0, 0.1].map((weightDecay) => ({ learningRate, weightDecay })),
);
/** Steps of one run of the bench. */
const STEPS = 10;
/** Steps after which losses are compared. */
const CHECKED = 4;
const PRECISION = "bf16";

const lossOf =
  (model: LanguageModel): LossFunction =>
  ({ ids }) =>
    crossEntropy(model.forward(ids!), ids!);

/** Steps in a row of the work: none waits for the losses of the one before, all are read. */
interface Steps {
  readonly advance: (steps: number) => Promise<number[][]>;
  readonly close: () => void;
}

const idsOf = (batch: number) => tensor(tokens(batch), [batch, LENGTH]);

function sweepOf(kind: MixerKind, batch: number, together: number): Steps {
  const model = madModel(kind);
  const optimizer = new AdamW(model, { learningRate: 1, hints: false });
  const sweep = new Sweep({
    loss: lossOf(model),
    optimizer,
    runs: RUNS,
    clip: 1,
    together,
    precision: PRECISION,
  });
  const ids = idsOf(batch);
  return {
    advance: async (steps) => {
      const reports = await Promise.all(Array.from({ length: steps }, () => sweep.advance({ ids }, 1)));
      return reports.map((runs) => runs.map((r) => r!["loss"]!));
    },
    close: () => sweep.dispose(),
  };
}

function oneOf(kind: MixerKind, batch: number): Steps {
  const model = madModel(kind);
  const optimizer = new AdamW(model, { ...RUNS.at(-1)!, hints: false });
  const step = trainStep({ loss: lossOf(model), optimizer, clip: 1, precision: PRECISION });
  const ids = idsOf(batch);
  return {
    advance: async (steps) => {
      const outs = Array.from({ length: steps }, () => step.run({ ids }));
      const read = await Promise.all(outs.map((out) => out.data()));
      outs.forEach((out) => out[Symbol.dispose]());
      return read.map((values) => [values[step.names.indexOf("loss")]!]);
    },
    close: () => step.run.dispose(),
  };
}

const peerOf = (name: string, make: () => Steps, most?: number): Peer => ({
  name,
  ...(most === undefined ? {} : { most }),
  prepare: async () => {
    const steps = make();
    const run = async (): Promise<number> => {
      const began = performance.now();
      await steps.advance(STEPS);
      finish();
      return performance.now() - began;
    };
    await run();
    return { run, close: steps.close };
  },
});

/** The largest relative difference between the losses of two works. */
async function deviation(a: Steps, b: Steps): Promise<number> {
  const [x, y] = [(await a.advance(CHECKED)).flat(), (await b.advance(CHECKED)).flat()];
  return Math.max(...x.map((loss, i) => Math.abs(loss - y[i]!) / Math.abs(y[i]!)));
}

export const cudaSweepCase = (kind: MixerKind, batch: number): BenchCase => ({
  name: `six runs as one graph, ${kind} ${PRECISION}, ${batch} x ${LENGTH}`,
  unit: "ms",
  toUnit: (ms) => ms / STEPS,
  // Biased products are rounded to bf16 once more in a sweep, and AdamW's first updates are signs of gradients, also of those near 0.
  tolerance: 1e-2,
  repeats: 7,
  peers: [
    peerOf("six steps one after the other", () => sweepOf(kind, batch, 1)),
    peerOf("one step of one run", () => oneOf(kind, batch), 2.5),
  ],
  prepare: () =>
    withDevice(device("cuda"), () => {
      const together = sweepOf(kind, batch, RUNS.length);
      return Promise.resolve({
        run: async () => {
          await together.advance(STEPS);
          finish();
        },
        error: async () => {
          const apart = sweepOf(kind, batch, 1);
          const off = await deviation(together, apart);
          apart.close();
          return off;
        },
        close: together.close,
      });
    }),
});

export const cudaSweepCases = (): BenchCase[] =>
  (["attention", "hyena"] as const).flatMap((kind) =>
    [16, 32, 128].map((batch) => cudaSweepCase(kind, batch)),
  );
