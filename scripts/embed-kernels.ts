// `npm run embed`: compiles the kernels that hosts without NVRTC are given into packages/device-cuda/dist/embedded, for sm_80, sm_90a and as
// PTX. Needs no GPU: programs are lowered and never run. Compiles with NVRTC where it is found, else with nvcc, what the last run did not.
// `--only NAME` takes the kernels of one kind of program, `--target NAME` one target, `--out FOLDER` another place.

import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync, readFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs, promisify } from "node:util";
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
import type { CudaTarget } from "@everlong/kernels/cuda";
import { attention, crossEntropy, fftConv, selectiveScan, shortConv } from "@everlong/kernels";
import { makeCell, makeSetting, TASKS, trainCell, type MadSetting, type Recipe } from "@everlong/mad";
import { AdamW, trainStep } from "@everlong/train";
import { CompileThreads } from "../packages/device-cuda/src/compile-threads.ts";
import {
  EMBEDDED_TARGETS,
  embeddedFile,
  embeddedName,
  packKernels,
  sourcesDigest,
  unpackKernels,
  type EmbeddedKernel,
  type EmbeddedTarget,
} from "../packages/device-cuda/src/embedded-kernels.ts";
import { wholeSource } from "../packages/device-cuda/src/kernel-cache.ts";
import { LoweringDevice } from "../packages/device-cuda/src/lowering-device.ts";
import { Nvrtc } from "../packages/device-cuda/src/nvrtc.ts";
import { madModel } from "../packages/everlong/src/bench/mad-step.ts";

/** What a GPU of each target offers; PTX is for whatever comes, so it is lowered as for sm_80. */
const GPUS: Readonly<Record<EmbeddedTarget, CudaTarget>> = {
  sm_80: { arch: 80, processors: 108, sharedLimit: 166_912, cacheBytes: 40 * 1024 ** 2 },
  sm_90a: { arch: 90, processors: 132, sharedLimit: 232_448, cacheBytes: 50 * 1024 ** 2 },
  compute_80: { arch: 80, processors: 108, sharedLimit: 101_376, cacheBytes: 4 * 1024 ** 2 },
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
const PROGRAMS: Readonly<Record<string, () => void | Promise<void>>> = {
  attention: attentions,
  "long-convolution": longConvolutions,
  "short-convolution": shortSequences,
  recurrence: recurrences,
  training: trainings,
  surroundings,
};

interface Found {
  readonly key: string;
  readonly source: string;
  readonly entry: string;
}

/** The sources of all kernels that a GPU runs in these programs, by name. */
async function collect(target: EmbeddedTarget): Promise<Map<string, Found>> {
  const device = new LoweringDevice({ target: GPUS[target], computes: false });
  registerDevice(device.name, () => device);
  await withDevice(device, async () => {
    for (const [name, run] of Object.entries(PROGRAMS)) if ((only ?? name) === name) await run();
  });
  const found = new Map<string, Found>();
  for (const kernel of device.kernels.values()) {
    const source = wholeSource(kernel);
    found.set(embeddedName(source), { key: kernel.key, source, entry: kernel.entry });
  }
  return found;
}

interface Compiler {
  readonly name: string;
  readonly compile: (
    jobs: readonly { readonly source: string; readonly entry: string }[],
    target: EmbeddedTarget,
  ) => Promise<(Uint8Array | undefined)[]>;
}

function withNvrtc(): Compiler | undefined {
  try {
    // Whatever driver it will meet; of the architectures it has to know the newest.
    const library = Nvrtc.open({ driver: Number.POSITIVE_INFINITY, arch: GPUS.sm_90a.arch });
    const threads = new CompileThreads(library.path);
    return {
      name: `NVRTC ${library.version}`,
      compile: (jobs, target) =>
        Promise.resolve(threads.compile(jobs, [`--gpu-architecture=${target}`, "--std=c++17"])),
    };
  } catch {
    return undefined;
  }
}

function withNvcc(): Compiler | undefined {
  const { status, stdout } = spawnSync("nvcc", ["--version"], { encoding: "utf8" });
  if (status !== 0) return undefined;
  const compile: Compiler["compile"] = async (jobs, target) => {
    const folder = mkdtempSync(join(tmpdir(), "everlong-embed-"));
    const virtual = target.replace("sm_", "compute_");
    const images: (Uint8Array | undefined)[] = jobs.map(() => undefined);
    let next = 0;
    const work = async (): Promise<void> => {
      for (let i = next++; i < jobs.length; i = next++) {
        const [from, to] = [join(folder, `${i}.cu`), join(folder, `${i}.image`)];
        writeFileSync(from, jobs[i]!.source);
        const kind = target === virtual ? "-ptx" : "-cubin";
        const code = `arch=${virtual},code=${target}`;
        await promisify(execFile)("nvcc", ["-std=c++17", "-w", kind, `-gencode=${code}`, "-o", to, from]);
        // The driver reads PTX as a C string.
        images[i] = Buffer.concat([readFileSync(to), Buffer.alloc(kind === "-ptx" ? 1 : 0)]);
      }
    };
    try {
      await Promise.all(Array.from({ length: availableParallelism() }, work));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    return images;
  };
  return { name: `nvcc ${/V[\d.]+/.exec(stdout)?.[0]}`, compile };
}

/** Images of an earlier run with the same compiler. */
function imagesAt(path: string, compilerName: string): Map<string, Uint8Array> {
  try {
    const found = unpackKernels(path);
    return new Map(found?.index.compiler === compilerName ? found.images : []);
  } catch {
    return new Map();
  }
}

const text = { type: "string" } as const;
const { only, target: wanted, out } = parseArgs({ options: { only: text, target: text, out: text } }).values;
for (const [given, known] of [
  [only, Object.keys(PROGRAMS)],
  [wanted, EMBEDDED_TARGETS],
] as const)
  if (given !== undefined && !(known as readonly string[]).includes(given)) {
    console.error(`[embed] there is no "${given}": expected ${known.join(", ")}`);
    process.exit(1);
  }

setStrict(true);
const compiler = withNvrtc() ?? withNvcc();
if (!compiler) {
  console.error(
    "neither NVRTC nor nvcc was found: the package is built without kernels for hosts without NVRTC",
  );
  process.exit(1);
}
// Before they are lowered: files are read once.
const sources = sourcesDigest();
for (const target of EMBEDDED_TARGETS.filter((t) => (wanted ?? t) === t)) {
  const kernels = await collect(target);
  const path = embeddedFile(target, out);
  const made = imagesAt(path, compiler.name);
  const missing = [...kernels].filter(([name]) => !made.has(name));
  const images = await compiler.compile(
    missing.map(([, job]) => job),
    target,
  );
  missing.forEach(([name, { entry }], i) => {
    const image = images[i];
    if (!image) throw new Error(`kernel ${entry} does not compile for ${target}`);
    made.set(name, image);
  });
  const named = new Map<string, EmbeddedKernel>();
  for (const [name, { key }] of kernels) named.set(name, { key, image: made.get(name)! });
  const packed = packKernels(named, compiler.name, sources);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, packed);
  const bytes = [...named.values()].reduce((total, { image }) => total + image.length, 0);
  console.log(
    `${target.padEnd(11)} ${String(named.size).padStart(4)} kernels (${missing.length} compiled now), ${(packed.length / 2 ** 20).toFixed(2)} MiB (${(bytes / 2 ** 20).toFixed(1)} unpacked)`,
  );
}
