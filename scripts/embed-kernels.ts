// `npm run embed`: compiles the kernels that hosts without NVRTC are given into packages/device-cuda/dist/embedded, for sm_80, sm_90a and as
// PTX. Needs no GPU: programs are lowered and never run. Compiles with NVRTC where it is found, else with nvcc, what the last run did not.
// `--only NAME` takes the kernels of one kind of program, `--target NAME` one target, `--out FOLDER` another place.

import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync, readFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { CompileThreads } from "../packages/device-cuda/src/compile-threads.ts";
import {
  EMBEDDED_TARGETS,
  embeddedFile,
  packKernels,
  sourcesDigest,
  unpackKernels,
  type EmbeddedKernel,
  type EmbeddedTarget,
} from "../packages/device-cuda/src/embedded-kernels.ts";
import { Nvrtc } from "../packages/device-cuda/src/nvrtc.ts";
import { GPUS, kernelsFor, PROGRAMS, type FoundKernel } from "./embedded-programs.ts";

/** What the GPUs of a target run. */
async function collect(target: EmbeddedTarget): Promise<Map<string, FoundKernel>> {
  const found = new Map<string, FoundKernel>();
  for (const gpu of Object.values(GPUS[target]))
    for (const [name, kernel] of await kernelsFor(gpu, only)) found.set(name, kernel);
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
    const library = Nvrtc.open({ driver: Number.POSITIVE_INFINITY, arch: GPUS.sm_90a["H100"]!.arch });
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
