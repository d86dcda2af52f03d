// The claims `longconv-smooth` and `longconv-learned` (Fu et al. 2023, arXiv 2302.06646): long convolutions with free filters need
// smooth kernels, which squashing and averaging give (sections 3.1 and 4); a learned butterfly is more expressive at equal run time
// (section 3.3). Images of Fashion-MNIST (Debian: dataset-fashion-mnist) are read pixel by pixel, 784 steps, by the same model under
// each variant. Prints one JSON line per run, then a table with the accuracy, the roughness of the filters (the mean squared
// difference of neighbouring taps over the mean squared tap; 2 for white noise) and the milliseconds of a training step.
//
//     node --conditions=everlong-source scripts/longconv-images.ts [--data FOLDER] [--variant NAME] [--seed N] [--steps N] [--rows N]

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";
import { cpu, kernels, nn, random, tensor, train, type Tensor } from "everlong";

const { values } = parseArgs({
  options: {
    data: { type: "string", default: "/usr/share/datasets/fashion-mnist" },
    variant: { type: "string", multiple: true },
    seed: { type: "string", multiple: true },
    steps: { type: "string", default: "600" },
    rows: { type: "string", default: "10000" },
    "test-rows": { type: "string", default: "2000" },
    dim: { type: "string", default: "32" },
    layers: { type: "string", default: "2" },
    batch: { type: "string", default: "16" },
    lr: { type: "string", default: "4e-3" },
    threads: { type: "string", default: "1" },
  },
});

const squash = 1e-3;
const window = 7;
interface Variant {
  readonly filter: nn.LongKernelSettings;
  readonly blockFft?: { readonly learned: boolean };
}
const smooth = { smoothing: "time", window } as const;
const geometric = { start: "double-exponential", squash } as const;
const VARIANTS: Readonly<Record<string, Variant>> = {
  none: { filter: { start: "random", squash: 0 } },
  squash: { filter: { start: "random", squash } },
  smooth: { filter: { start: "random", squash: 0, ...smooth } },
  "smooth, squash": { filter: { start: "random", squash, ...smooth } },
  "smooth in frequency": { filter: { start: "random", squash: 0, smoothing: "frequency", window } },
  "double-exponential": { filter: { ...geometric, squash: 0 } },
  "double-exponential, squash": { filter: geometric },
  "fixed butterfly": { filter: geometric, blockFft: { learned: false } },
  "learned butterfly": { filter: geometric, blockFft: { learned: true } },
};

/** An idx file as flat bytes and its sizes (LeCun's format: two zeros, a type, the rank, then the sizes). */
function idx(name: string): { shape: number[]; data: Uint8Array } {
  const bytes = gunzipSync(readFileSync(join(values.data, name)));
  const rank = bytes[3]!;
  const shape = Array.from({ length: rank }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
  return { shape, data: bytes.subarray(4 + 4 * rank) };
}

interface Images {
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
  readonly rows: number;
}
const LENGTH = 784;
function images(kind: "train" | "t10k", rows: number): Images {
  const { shape, data } = idx(`${kind}-images-idx3-ubyte.gz`);
  if (shape[1]! * shape[2]! !== LENGTH) throw new Error(`images of ${shape.join(" x ")}, not of 28 x 28`);
  return { pixels: data, labels: idx(`${kind}-labels-idx1-ubyte.gz`).data, rows: Math.min(rows, shape[0]!) };
}

function batchOf(set: Images, picks: readonly number[]): { x: Tensor; label: Tensor } {
  const x = new Float32Array(picks.length * LENGTH);
  picks.forEach((row, i) => {
    for (let t = 0; t < LENGTH; t++) x[i * LENGTH + t] = set.pixels[row * LENGTH + t]! / 127.5 - 1;
  });
  const label = tensor(Int32Array.from(picks, (row) => set.labels[row]!));
  return { x: tensor(x, [picks.length, LENGTH, 1]), label };
}

const dim = Number(values.dim);
const steps = Number(values.steps);
const size = Number(values.batch);

/** Blocks of a long convolution with residual and norm, the mean over positions, a linear readout. */
class PixelModel {
  readonly input: nn.Linear;
  readonly mixers: nn.LongConv[];
  readonly norms: nn.LayerNorm[];
  readonly output: nn.Linear;

  constructor(key: Tensor, { filter, blockFft }: Variant) {
    const count = Number(values.layers);
    const keys = random.splitKey(key, count + 2);
    this.input = new nn.Linear({ key: keys[0]!, inputs: 1, outputs: dim });
    this.output = new nn.Linear({ key: keys[1]!, inputs: dim, outputs: 10 });
    this.mixers = Array.from(
      { length: count },
      (_, i) =>
        new nn.LongConv({
          key: keys[i + 2]!,
          dim,
          maxLength: LENGTH,
          sides: "two-sided",
          filter: { learningRate: 1e-3, ...filter },
          ...(blockFft ? { blockFft } : {}),
        }),
    );
    this.norms = this.mixers.map(() => new nn.LayerNorm({ dim }));
  }

  forward(x: Tensor): Tensor {
    let h = this.input.forward(x);
    for (const [i, mixer] of this.mixers.entries()) h = this.norms[i]!.forward(h.add(mixer.forward(h)));
    return this.output.forward(h.mean(1));
  }

  /** Roughness of the filters and the share of their taps that are 0. */
  async filters(): Promise<{ roughness: number; zeros: number }> {
    let [changes, squares, zeros, count] = [0, 0, 0, 0];
    for (const { kernel } of this.mixers) {
      const k = kernel.forward();
      const taps = await k.data();
      const width = k.shape[2]!;
      for (let i = 0; i < taps.length; i++) {
        squares += taps[i]! ** 2;
        if (taps[i] === 0) zeros++;
        if (i % width > 0) changes += (taps[i]! - taps[i - 1]!) ** 2;
      }
      count += taps.length;
    }
    return { roughness: squares > 0 ? changes / squares : 0, zeros: zeros / count };
  }
}

async function accuracy(model: PixelModel, set: Images): Promise<number> {
  let right = 0;
  for (let at = 0; at < set.rows; at += 50) {
    const picks = Array.from({ length: Math.min(50, set.rows - at) }, (_, i) => at + i);
    const { x, label } = batchOf(set, picks);
    const guess = await model.forward(x).argmax(-1).data();
    picks.forEach((row, i) => (right += guess[i] === set.labels[row] ? 1 : 0));
    x[Symbol.dispose]();
    label[Symbol.dispose]();
  }
  return right / set.rows;
}

cpu.enableWide();
cpu.setThreads(Number(values.threads));
const trainSet = images("train", Number(values.rows));
const testSet = images("t10k", Number(values["test-rows"]));

const found = new Map<string, { accuracy: number; roughness: number; stepMs: number }[]>();
for (const seed of (values.seed ?? ["1", "2", "3"]).map(Number)) {
  for (const variant of values.variant ?? Object.keys(VARIANTS)) {
    const made = VARIANTS[variant];
    if (!made) throw new Error(`unknown variant "${variant}": ${Object.keys(VARIANTS).join("; ")}`);
    const model = new PixelModel(random.key(seed), made);
    const optimizer = new train.AdamW(model, { learningRate: Number(values.lr), weightDecay: 0.05 });
    let state = seed;
    const pick = (): number =>
      Math.floor(((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * trainSet.rows);
    function* batches(): Generator<{ x: Tensor; label: Tensor }> {
      for (;;) yield batchOf(trainSet, Array.from({ length: size }, pick));
    }
    const ends: number[] = [];
    const { lastLoss } = await train.fit({
      loss: ({ x, label }) => kernels.crossEntropy(model.forward(x!), label!),
      optimizer,
      batches: batches(),
      steps,
      schedule: train.cosine({ steps, warmup: Math.round(steps / 10) }),
      clip: 1,
      onStep: ({ seconds }) => void ends.push(seconds),
    });
    const times = ends.slice(1).map((end, i) => (end - ends[i]!) * 1000);
    const stepMs = times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
    const result = { accuracy: await accuracy(model, testSet), ...(await model.filters()), stepMs };
    console.log(JSON.stringify({ variant, seed, steps, lastLoss, ...result }));
    found.set(variant, [...(found.get(variant) ?? []), result]);
  }
}
for (const [variant, runs] of found) {
  const each = (name: "accuracy" | "roughness" | "stepMs", digits: number): string =>
    runs.map((r) => r[name].toFixed(digits)).join(" / ");
  console.log(
    `${variant.padEnd(28)} ${each("accuracy", 3)}  roughness ${each("roughness", 2)}  ms ${each("stepMs", 1)}`,
  );
}
