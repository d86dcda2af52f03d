// The claim `hyena-recall`: associative recall in sequences of 2,048 tokens, each with a map of its own (Poli et al. 2023, arXiv
// 2302.10866, section 4.1), two layers of a sequence mixer and an MLP, the same around every mixer. The learning rates are the
// better of 2e-3 and 5e-3 after 120 steps of another seed. Prints a JSON line for every run, then the accuracies.
//
//     node --conditions=everlong-source scripts/hyena-recall.ts [--mixer NAME ..] [--seed N ..] [--steps N] [--length N] [--lr X]
//       [--rows N] [--batch N] [--points N] [--device cpu|cuda]

import { parseArgs } from "node:util";
import { setDefaultDevice } from "@everlong/core";
import { cudaAvailable } from "@everlong/device-cuda";
import { cpu, mad } from "everlong";

const { values } = parseArgs({
  options: {
    mixer: { type: "string", multiple: true },
    seed: { type: "string", multiple: true },
    steps: { type: "string", default: "600" },
    length: { type: "string", default: "2048" },
    lr: { type: "string" },
    vocabulary: { type: "string", default: "20" },
    rows: { type: "string", default: "2000" },
    batch: { type: "string", default: "8" },
    points: { type: "string", default: "4" },
    device: { type: "string", default: "cpu" },
  },
});

/** Registry names, with options where the paper's synthetic runs set them. */
const MIXERS: Readonly<Record<string, mad.Architecture["layers"][number]>> = {
  hyena: {
    layer: "hyena",
    options: {
      innerFactor: 1,
      projectionGroups: 1,
      embeddingDim: 5,
      filterWidth: 64,
      frequency: 10,
      positionLearningRate: 0,
    },
  },
  h3: "h3",
  s4d: "s4d",
  "long-conv": "long-conv",
  attention: { layer: "mh-attention", options: { heads: 4 } },
  // Queries, keys and values through short convolutions, which Hyena's have too.
  "attention-conv": { layer: "mh-attention", options: { heads: 4, shortConv: true } },
};

const RATES: Readonly<Record<string, number>> = {
  hyena: 5e-3,
  h3: 5e-3,
  s4d: 2e-3,
  "long-conv": 2e-3,
  attention: 5e-3,
  "attention-conv": 5e-3,
};

const steps = Number(values.steps);
const seqLen = Number(values.length);
const absent = values.device === "cuda" ? cudaAvailable() : true;
if (absent !== true) {
  console.error(absent);
  process.exit(1);
}
if (values.device === "cpu") cpu.enableWide();
else setDefaultDevice(values.device);

const byMixer = new Map<string, number[]>();
for (const mixer of values.mixer ?? Object.keys(MIXERS)) {
  const spec = MIXERS[mixer];
  if (!spec) throw new Error(`unknown mixer "${mixer}": ${Object.keys(MIXERS).join(", ")}`);
  for (const seed of (values.seed ?? ["1", "2", "3"]).map(Number)) {
    const record = await mad.trainRun(
      {
        architecture: { name: mixer, layers: [spec, "mlp", spec, "mlp"] },
        task: "in-context-recall",
        // As many keys as values; whenever a key comes again, its value is asked for.
        taskOptions: { vocabSize: Number(values.vocabulary), seqLen, multiQuery: true },
        dim: 64,
        trainRows: Number(values.rows),
        testRows: 80,
        batch: Number(values.batch),
        steps,
        warmup: Math.round(steps / 10),
        weightDecay: 0.1,
        learningRate: values.lr === undefined ? RATES[mixer]! : Number(values.lr),
        every: Math.ceil(steps / Number(values.points)),
        seed,
      },
      (p) =>
        console.error(
          mixer,
          seed,
          p.step,
          p.trainLoss.toFixed(3),
          p.accuracy.toFixed(3),
          `${p.seconds.toFixed(0)} s`,
        ),
    );
    const best = Math.max(...record.curve.map((p) => p.accuracy));
    byMixer.set(mixer, [...(byMixer.get(mixer) ?? []), record.tokenAccuracy]);
    const { tokenAccuracy, testLoss, parameters, stateBytes, seconds } = record;
    console.log(
      JSON.stringify({
        mixer,
        seed,
        steps,
        seqLen,
        tokenAccuracy,
        best,
        testLoss,
        parameters,
        stateBytes,
        seconds,
      }),
    );
  }
}
for (const [mixer, scores] of byMixer)
  console.log(mixer.padEnd(10), scores.map((s) => s.toFixed(3)).join(" / "));
