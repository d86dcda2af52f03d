// `npm run embed`: compiles the kernels that hosts without NVRTC are given into packages/device-cuda/dist/embedded, for sm_80, sm_90a and as
// PTX. Needs no GPU: programs are lowered and never run. Compiles with NVRTC where it is found, else with nvcc.
// `--only NAME` takes the kernels of one kind of program, `--out FOLDER` another place.

import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync, readFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs, promisify } from "node:util";
import {
  cast,
  gradients,
  mul,
  realize,
  registerDevice,
  setStrict,
  sum,
  withDevice,
  zeros,
  type DType,
  type Tensor,
} from "@everlong/core";
import type { CudaTarget } from "@everlong/kernels/cuda";
import { attention, fftConv, selectiveScan, shortConv } from "@everlong/kernels";
import { makeCell, makeSetting, trainCell } from "@everlong/mad";
import { CompileThreads } from "../packages/device-cuda/src/compile-threads.ts";
import {
  EMBEDDED_TARGETS,
  embeddedFile,
  embeddedName,
  packKernels,
  type EmbeddedTarget,
} from "../packages/device-cuda/src/embedded-kernels.ts";
import { wholeSource } from "../packages/device-cuda/src/kernel-cache.ts";
import { LoweringDevice } from "../packages/device-cuda/src/lowering-device.ts";
import { Nvrtc } from "../packages/device-cuda/src/nvrtc.ts";

/** What a GPU of each target offers; PTX is for whatever comes, so it is lowered as for sm_80. */
const GPUS: Readonly<Record<EmbeddedTarget, CudaTarget>> = {
  sm_80: { arch: 80, processors: 108, sharedLimit: 166_912 },
  sm_90a: { arch: 90, processors: 132, sharedLimit: 232_448 },
  compute_80: { arch: 80, processors: 108, sharedLimit: 101_376 },
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
] as const;

function attentions(): void {
  for (const dtype of FLOATS)
    for (const size of [32, 64, 128]) {
      for (const [batch, time, heads] of ATTENDED) {
        const make = (): Tensor => zeros([batch, time, heads, size], { dtype });
        both([make(), make(), make()], ([q, k, v]) => attention(q!, k!, v!, { causal: true }));
        if (time > 2048) continue;
        const keyLengths = zeros([batch], { dtype: "i32" });
        both([make(), make(), make()], ([q, k, v]) => attention(q!, k!, v!, { keyLengths }));
      }
      // One query over long keys, as in generation.
      const kv = (): Tensor => zeros([1, 8192, 2, size], { dtype });
      realize(attention(zeros([1, 1, 8, size], { dtype }), kv(), kv()));
    }
}

function longConvolutions(): void {
  for (const dtype of FLOATS)
    for (let length = 256; length <= (dtype === "f32" ? 131_072 : 4_194_304); length *= 2)
      for (const mode of ["causal", "circular"] as const) {
        const u = zeros([2, 16, length], { dtype });
        both([u, zeros([16, length])], ([x, k]) => fftConv(x!, k!, { mode }));
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

/** Tasks, widths and lengths of the models that are trained: kernels of norms and convolutions are made for theirs. */
const TRAINED = [
  ["in-context-recall", 128, 128],
  ["compression", 128, 128],
  ["in-context-recall", 64, 64],
  ["in-context-recall", 256, 256],
  ["in-context-recall", 128, 512],
  ["in-context-recall", 128, 1024],
] as const;

/** Training and measuring small models, as `mad run` does. */
async function trainings(): Promise<void> {
  for (const layer of ["mh-attention", "hyena", "mamba"]) {
    const layers = [layer, "swiglu", layer, "swiglu"].map((name) => ({ layer: name }));
    for (const [task, dim, seqLen] of TRAINED) {
      const setting = makeSetting(task, { seqLen }, { trainCount: 256, testCount: 256 });
      const recipe = { epochs: 2, dim, norm: "layer", learningRates: [5e-4], weightDecays: [0.1] } as const;
      await trainCell(makeCell({ name: layer, layers }, setting, recipe), { together: "off" });
    }
  }
}

/** Programs whose kernels are embedded. */
const PROGRAMS: Readonly<Record<string, () => void | Promise<void>>> = {
  attention: attentions,
  "long-convolution": longConvolutions,
  "short-convolution": shortSequences,
  recurrence: recurrences,
  training: trainings,
};

/** The sources of all kernels that a GPU runs in these programs, by name. */
async function collect(target: EmbeddedTarget): Promise<Map<string, { source: string; entry: string }>> {
  const device = new LoweringDevice({ target: GPUS[target], computes: false });
  registerDevice(device.name, () => device);
  await withDevice(device, async () => {
    for (const [name, run] of Object.entries(PROGRAMS)) if ((only ?? name) === name) await run();
  });
  const found = new Map<string, { source: string; entry: string }>();
  for (const kernel of device.kernels.values()) {
    const source = wholeSource(kernel);
    found.set(embeddedName(source), { source, entry: kernel.entry });
  }
  return found;
}

type Compiler = (
  jobs: readonly { readonly source: string; readonly entry: string }[],
  target: EmbeddedTarget,
) => Promise<(Uint8Array | undefined)[]>;

function withNvrtc(): Compiler | undefined {
  try {
    // Whatever driver it will meet; of the architectures it has to know the newest.
    const library = Nvrtc.open({ driver: Number.POSITIVE_INFINITY, arch: GPUS.sm_90a.arch });
    const threads = new CompileThreads(library.path);
    return (jobs, target) =>
      Promise.resolve(threads.compile(jobs, [`--gpu-architecture=${target}`, "--std=c++17"]));
  } catch {
    return undefined;
  }
}

function withNvcc(): Compiler | undefined {
  if (spawnSync("nvcc", ["--version"]).status !== 0) return undefined;
  return async (jobs, target) => {
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
}

const { only, out } = parseArgs({ options: { only: { type: "string" }, out: { type: "string" } } }).values;
if (only !== undefined && !(only in PROGRAMS)) {
  console.error(`[embed] there is no "${only}": expected ${Object.keys(PROGRAMS).join(", ")}`);
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
for (const target of EMBEDDED_TARGETS) {
  const kernels = await collect(target);
  const jobs = [...kernels.values()];
  const images = await compiler(jobs, target);
  const named = new Map<string, Uint8Array>();
  [...kernels.keys()].forEach((name, i) => {
    const image = images[i];
    if (!image) throw new Error(`kernel ${jobs[i]!.entry} does not compile for ${target}`);
    named.set(name, image);
  });
  const packed = packKernels(named);
  const path = embeddedFile(target, out);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, packed);
  const bytes = [...named.values()].reduce((total, image) => total + image.length, 0);
  console.log(
    `${target.padEnd(11)} ${String(named.size).padStart(4)} kernels, ${(packed.length / 2 ** 20).toFixed(2)} MiB (${(bytes / 2 ** 20).toFixed(1)} unpacked)`,
  );
}
