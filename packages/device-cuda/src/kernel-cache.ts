// Kernels by key: from memory, from disk, or compiled now; on hosts without a compiler, those that the package brings.

import type { CudaStep } from "@everlong/kernels/cuda";
import { cudaPrelude } from "@everlong/kernels/cuda";
import { CompileThreads } from "./compile-threads.ts";
import { DeviceError, invariant } from "@everlong/core";
import { DiskCache } from "./disk-cache.ts";
import type { Driver, Handle } from "./driver.ts";
import { EmbeddedKernels } from "./embedded-kernels.ts";
import { installNvrtc, Nvrtc } from "./nvrtc.ts";

/** A kernel that can be launched. */
export interface Kernel {
  readonly handle: Handle;
  readonly name: string;
}

/** The name of the machine-code target: Hopper's has an `a` for its own instructions. */
export const archName = (arch: number): string => (arch === 90 ? "sm_90a" : `sm_${arch}`);

export const compileOptions = (arch: number): string[] => [
  `--gpu-architecture=${archName(arch)}`,
  "--std=c++17",
];

const ENTRY = /extern "C" __global__ void [^{;]*\{/g;

/** All that a compiler sees of a kernel. Every kernel begins by waiting for the one in front, beside whose end it may be launched. */
export function wholeSource(kernel: CudaStep["kernel"]): string {
  const source = kernel.source();
  let waiting = 0;
  const whole = source.replace(ENTRY, (head) => {
    waiting++;
    return `${head} wait_for_previous();`;
  });
  invariant(
    waiting === source.split("__global__").length - 1,
    `kernel ${kernel.key} begins in a way of its own, so that it does not wait for the one in front`,
  );
  return `${cudaPrelude}\n${whole}`;
}

/** Kernels below which starting threads costs more than they save. */
const FEWEST_SHARED = 3;

export class KernelCache {
  built = 0;
  private readonly driver: Driver;
  private readonly arch: number;
  private readonly kernels = new Map<string, Kernel & { readonly module: Handle; shared: number }>();
  private readonly disk: DiskCache;
  private readonly embeddedFolder: string | undefined;
  private opened: Nvrtc | EmbeddedKernels | undefined;
  private threads: CompileThreads | undefined;
  /** Images of kernels that are not asked for yet. */
  private readonly ready = new Map<string, Uint8Array>();

  /** @param embeddedFolder where the package's kernels lie */
  constructor(driver: Driver, arch: number, disk: DiskCache = new DiskCache(), embeddedFolder?: string) {
    this.driver = driver;
    this.arch = arch;
    this.disk = disk;
    this.embeddedFolder = embeddedFolder;
  }

  /** Where kernels come from, opened at first use: the compiler, or what the package brings. */
  get origin(): Nvrtc | EmbeddedKernels {
    return (this.opened ??= this.open());
  }

  /**
   * Whether kernels wait for the one in front by themselves, so that they may be launched beside its end: those compiled for compute capability
   * 9.0 or newer, not PTX for older GPUs that the driver compiles for this one.
   */
  get waitInside(): boolean {
    const { origin } = this;
    return this.arch >= 90 && (origin instanceof Nvrtc || origin.target === "sm_90a");
  }

  private open(): Nvrtc | EmbeddedKernels {
    try {
      return Nvrtc.open({ driver: this.driver.version, arch: this.arch });
    } catch (missing) {
      const embedded = EmbeddedKernels.open(this.arch, this.embeddedFolder);
      if (!embedded) throw missing;
      console.warn(
        `${(missing as Error).message} Without it only the ${embedded.count} kernels that the package brings for ${embedded.target} can run.`,
      );
      return embedded;
    }
  }

  get(kernel: CudaStep["kernel"], sharedBytes: number): Kernel {
    let found = this.kernels.get(kernel.key);
    if (!found) {
      const module = this.driver.loadModule(this.image(kernel));
      found = {
        handle: this.driver.getFunction(module, kernel.entry),
        name: kernel.entry,
        module,
        // Asking is needed from 48 KiB on, those of the kernel's own arrays counted in.
        shared: 0,
      };
      this.kernels.set(kernel.key, found);
      this.built++;
    }
    if (sharedBytes > found.shared) {
      this.driver.allowShared(found.handle, sharedBytes);
      found.shared = sharedBytes;
    }
    return found;
  }

  /** Unloads all kernels, behind all work. */
  dispose(): void {
    for (const { module } of this.kernels.values()) this.driver.unloadModule(module);
    this.kernels.clear();
    this.ready.clear();
    this.threads?.dispose();
    this.threads = undefined;
  }

  /** Brings the images of kernels that are about to be asked for, compiling what is missing on several threads. */
  prepare(kernels: Iterable<CudaStep["kernel"]>): void {
    const compiler = this.origin;
    if (!(compiler instanceof Nvrtc)) return;
    const missing = new Map<
      string,
      { readonly key: string; readonly source: string; readonly entry: string }
    >();
    for (const kernel of kernels) {
      if (this.kernels.has(kernel.key) || this.ready.has(kernel.key) || missing.has(kernel.key)) continue;
      const source = wholeSource(kernel);
      const key = this.diskKey(compiler, source);
      const stored = this.disk.read(key);
      if (stored) this.ready.set(kernel.key, stored);
      else missing.set(kernel.key, { key, source, entry: kernel.entry });
    }
    if (missing.size < FEWEST_SHARED) return;
    this.threads ??= new CompileThreads(compiler.path);
    const jobs = [...missing];
    const images = this.threads.compile(
      jobs.map(([, job]) => job),
      compileOptions(this.arch),
    );
    images.forEach((image, i) => {
      if (!image) return;
      const [name, { key }] = jobs[i]!;
      this.disk.write(key, image);
      this.ready.set(name, image);
    });
  }

  private diskKey(compiler: Nvrtc, source: string): string {
    return [compiler.version, this.driver.version, ...compileOptions(this.arch), source].join("\n");
  }

  private image(kernel: CudaStep["kernel"]): Uint8Array {
    const ready = this.ready.get(kernel.key);
    this.ready.delete(kernel.key);
    if (ready) return ready;
    const source = wholeSource(kernel);
    const { origin } = this;
    if (origin instanceof EmbeddedKernels) {
      const embedded = origin.find(source, kernel);
      if (embedded) return embedded;
      throw new DeviceError(
        "cuda",
        `kernel ${kernel.entry} is not among the ${origin.count} that the package brings for ${origin.target}, and there is no NVRTC to compile it`,
        { hint: `For all kernels ${installNvrtc(this.driver.version)}.` },
      );
    }
    const key = this.diskKey(origin, source);
    const stored = this.disk.read(key);
    if (stored) return stored;
    const image = origin.compile(source, kernel.entry, compileOptions(this.arch));
    this.disk.write(key, image);
    return image;
  }
}
