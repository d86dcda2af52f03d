// The programs whose kernels are embedded, and the GPUs that they are lowered for. Needs no GPU: programs are lowered and never run.

import {
  add,
  cast,
  div,
  gradients,
  max,
  mean,
  mul,
  random,
  realize,
  registerDevice,
  setStrict,
  sub,
  sum,
  withDevice,
  zeros,
  type DType,
  type Tensor,
} from "@everlong/core";
import { A100, H100, type CudaTarget } from "@everlong/kernels/cuda";
import { attention, crossEntropy, fftConv, selectiveScan, shortConv } from "@everlong/kernels";
import { makeCell, makeSetting, TASKS, trainCell, type MadSetting, type Recipe } from "@everlong/mad";
import { AdamW, trainStep } from "@everlong/train";
import { embeddedName, type EmbeddedTarget } from "../packages/device-cuda/src/embedded-kernels.ts";
import { wholeSource } from "../packages/device-cuda/src/kernel-cache.ts";
import { LoweringDevice } from "../packages/device-cuda/src/lowering-device.ts";
import { madModel } from "../packages/everlong/src/bench/mad-step.ts";

const gpu = (arch: number, processors: number, sharedLimit: number, cacheMiB: number): CudaTarget => ({
  arch,
  processors,
  sharedLimit,
  cacheBytes: cacheMiB * 1024 ** 2,
});

/**
 * GPUs that run each target: what a block has of shared memory and of the cache decides on tiles, and how many multiprocessors there are
 * on a few more.
 */
export const GPUS: Readonly<Record<EmbeddedTarget, Readonly<Record<string, CudaTarget>>>> = {
  sm_80: {
    A100,
    "RTX 3090": gpu(86, 82, 101_376, 6),
    "RTX 4090": gpu(89, 128, 101_376, 72),
  },
  sm_90a: {
    H100,
    "H100 PCIe": { ...H100, processors: 114 },
  },
  compute_80: { B200: gpu(100, 148, 232_448, 126), "RTX 5090": gpu(120, 170, 101_376, 96) },
};

/** Values of an op and gradients of its inputs. */
function both(inputs: readonly Tensor[], run: (inputs: readonly Tensor[]) => Tensor): void {
  const y = run(inputs);
  realize([y, ...gradients(sum(mul(cast(y, "f32"), 0.5)), [...inputs])]);
}

const FLOATS: readonly DType[] = ["f32", "f16", "bf16"];

/** Sequences of every length that attention has tiles for. */
const ATTENDED = [
  [2, 512, 4],
  [32, 128, 12],
  [8, 2048, 16],
  [1, 8192, 16],
  [3, 1537, 3],
  [2, 300, 2],
  [1, 513, 1],
  [1, 4096, 1],
] as const;

function attentions(): void {
  for (const dtype of FLOATS)
    for (const size of [32, 64, 128]) {
      for (const [batch, time, heads] of ATTENDED) {
        const make = (): Tensor => zeros([batch, time, heads, size], { dtype });
        both([make(), make(), make()], ([q, k, v]) => attention(q!, k!, v!, { causal: true }));
        if (heads % 4 === 0) {
          const shared = (): Tensor => zeros([batch, time, heads / 4, size], { dtype });
          both([make(), shared(), shared()], ([q, k, v]) => attention(q!, k!, v!, { causal: true }));
        }
        if (time > 2048) continue;
        const keyLengths = zeros([batch], { dtype: "i32" });
        both([make(), make(), make()], ([q, k, v]) => attention(q!, k!, v!, { keyLengths }));
      }
      // One query over long keys, as in generation.
      const kv = (): Tensor => zeros([1, 8192, 2, size], { dtype });
      realize(attention(zeros([1, 1, 8, size], { dtype }), kv(), kv()));
    }
}

/** Lengths of convolutions besides the powers of two. */
const BETWEEN = [300, 1536, 6000, 12_000];

function longConvolutions(): void {
  for (const dtype of FLOATS) {
    const lengths = [...BETWEEN];
    for (let n = 256; n <= (dtype === "f32" ? 131_072 : 4_194_304); n *= 2) lengths.push(n);
    for (const length of lengths)
      for (const mode of ["causal", "circular"] as const) {
        const u = zeros([2, 16, length], { dtype });
        both([u, zeros([16, length])], ([x, k]) => fftConv(x!, k!, { mode }));
      }
  }
}

function shortSequences(): void {
  for (const dtype of ["f32", "bf16"] as const)
    for (const layout of ["bdl", "bld"] as const)
      for (const taps of [3, 4, 5])
        both(
          [zeros(layout === "bdl" ? [8, 256, 512] : [8, 512, 256], { dtype }), zeros([256, taps], { dtype })],
          ([x, w]) => shortConv(x!, w!, { layout, silu: true }),
        );
}

function recurrences(): void {
  const [batch, time, channels] = [4, 512, 256];
  for (const states of [4, 16]) {
    const row = (): Tensor => zeros([batch, time, channels]);
    const state = (): Tensor => zeros([batch, time, states]);
    both(
      [row(), row(), zeros([channels, states]), state(), state()],
      ([u, delta, a, b, c]) => selectiveScan(u!, delta!, a!, b!, c!).y,
    );
  }
}

/** Widths and lengths of models, besides the tasks' own: kernels of norms and convolutions are made for theirs. */
const TRAINED = [
  [64, 64],
  [256, 256],
  [128, 512],
  [128, 1024],
] as const;

const PRECISIONS = ["f32", "bf16"] as const;

/** Training and measuring small models as `mad run` and `mad sweep` do, in float32 and in mixed precision. */
async function trainings(): Promise<void> {
  const rows = { trainCount: 256, testCount: 256 };
  const rates = { learningRates: [5e-4], weightDecays: [0.1] };
  const several = { learningRates: [1e-4, 5e-4], weightDecays: [0, 0.1], norm: "rms", clip: 1 } as const;
  for (const layer of ["mh-attention", "hyena", "mamba"]) {
    const layers = [layer, "swiglu", layer, "swiglu"].map((name) => ({ layer: name }));
    for (const p of PRECISIONS) {
      const precision = p === "bf16" ? { precision: p } : {};
      const train = (setting: MadSetting, changes: Partial<Recipe>): Promise<unknown> =>
        trainCell(makeCell({ name: layer, layers }, setting, { epochs: 2, ...changes, ...precision }));
      for (const { name } of TASKS) await train(makeSetting(name, {}, rows), { ...rates, norm: "layer" });
      for (const [dim, seqLen] of TRAINED)
        await train(makeSetting("in-context-recall", { seqLen }, rows), { ...rates, norm: "layer", dim });
      await train(makeSetting("in-context-recall", {}, rows), { ...rates, norm: "rms" });
      await train(makeSetting("in-context-recall", {}, rows), several);
    }
  }
  for (const kind of ["attention", "hyena"] as const)
    for (const precision of PRECISIONS) {
      const model = madModel(kind);
      const optimizer = new AdamW(model, { learningRate: 1e-3, weightDecay: 0.1 });
      const loss = ({ ids }: { readonly [key: string]: Tensor }): Tensor =>
        crossEntropy(model.forward(ids!), ids!);
      const { run } = trainStep({ optimizer, precision, loss });
      // Blocks of gated units are of three sizes.
      for (const batch of [8, 48, 128]) await run({ ids: zeros([batch, 128], { dtype: "i32" }) }).data();
    }
}

/** What programs do around these: drawing, filling, casting, sums and simple arithmetic, of sizes that 16 bytes, 8 bytes and no more divide. */
function surroundings(): void {
  const run = (...made: readonly Tensor[]): void => made.forEach((t) => realize(t));
  for (const shape of [
    [64, 128],
    [7, 36],
    [7, 33],
  ])
    for (const dtype of FLOATS) {
      run(zeros(shape, { dtype }), cast(random.normal(random.key(1), shape), dtype));
      const x = cast(random.uniform(random.key(2), shape), dtype);
      run(x, ...FLOATS.map((other) => cast(x, other)));
      const plain = zeros(shape);
      run(plain, cast(add(plain, 1), dtype), cast(cast(plain, dtype), "f32"));
      for (const pair of [add, sub, mul, div]) run(pair(x, x), pair(x, 0.5));
      for (const axis of [0, 1]) run(sum(x, axis), mean(x, axis), max(x, axis));
      run(sum(cast(x, "f32")), mean(cast(x, "f32")));
    }
}

/** Programs whose kernels are embedded. */
export const PROGRAMS: Readonly<Record<string, () => void | Promise<void>>> = {
  attention: attentions,
  "long-convolution": longConvolutions,
  "short-convolution": shortSequences,
  recurrence: recurrences,
  training: trainings,
  surroundings,
};

export interface FoundKernel {
  readonly key: string;
  readonly source: string;
  readonly entry: string;
}

/** The sources of all kernels that a GPU runs in these programs (or in `only`), by the names that they are packed under. */
export async function kernelsFor(target: CudaTarget, only?: string): Promise<Map<string, FoundKernel>> {
  setStrict(true);
  const device = new LoweringDevice({ target, computes: false });
  registerDevice(device.name, () => device);
  await withDevice(device, async () => {
    for (const [name, run] of Object.entries(PROGRAMS)) if ((only ?? name) === name) await run();
  });
  const found = new Map<string, FoundKernel>();
  for (const kernel of device.kernels.values()) {
    const source = wholeSource(kernel);
    found.set(embeddedName(source), { key: kernel.key, source, entry: kernel.entry });
  }
  return found;
}
