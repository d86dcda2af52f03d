// Kernels by key: from memory, from disk, or compiled now.

import type { CudaStep } from "@everlong/kernels/cuda";
import { cudaPrelude } from "@everlong/kernels/cuda";
import { CompileThreads } from "./compile-threads.ts";
import { DiskCache } from "./disk-cache.ts";
import type { Driver, Handle } from "./driver.ts";
import { Nvrtc } from "./nvrtc.ts";

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

/** Kernels below which starting threads costs more than they save. */
const FEWEST_SHARED = 3;

export class KernelCache {
  built = 0;
  private readonly driver: Driver;
  private readonly arch: number;
  private readonly kernels = new Map<string, Kernel & { shared: number }>();
  private readonly disk: DiskCache;
  private compiler: Nvrtc | undefined;
  private threads: CompileThreads | undefined;
  /** Images of kernels that are not asked for yet. */
  private readonly ready = new Map<string, Uint8Array>();

  constructor(driver: Driver, arch: number, disk: DiskCache = new DiskCache()) {
    this.driver = driver;
    this.arch = arch;
    this.disk = disk;
  }

  /** The compiler, opened at first use. */
  get nvrtc(): Nvrtc {
    return (this.compiler ??= Nvrtc.open());
  }

  get(kernel: CudaStep["kernel"], sharedBytes: number): Kernel {
    let found = this.kernels.get(kernel.key);
    if (!found) {
      const module = this.driver.loadModule(this.image(kernel));
      found = {
        handle: this.driver.getFunction(module, kernel.entry),
        name: kernel.entry,
        shared: 48 * 1024,
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

  /** Brings the images of kernels that are about to be asked for, compiling what is missing on several threads. */
  prepare(kernels: Iterable<CudaStep["kernel"]>): void {
    const missing = new Map<
      string,
      { readonly key: string; readonly source: string; readonly entry: string }
    >();
    for (const kernel of kernels) {
      if (this.kernels.has(kernel.key) || this.ready.has(kernel.key) || missing.has(kernel.key)) continue;
      const [source, key] = this.sourceOf(kernel);
      const stored = this.disk.read(key);
      if (stored) this.ready.set(kernel.key, stored);
      else missing.set(kernel.key, { key, source, entry: kernel.entry });
    }
    if (missing.size < FEWEST_SHARED) return;
    this.threads ??= new CompileThreads(this.nvrtc.path);
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

  private sourceOf(kernel: CudaStep["kernel"]): [source: string, key: string] {
    const source = `${cudaPrelude}\n${kernel.source()}`;
    return [
      source,
      [this.nvrtc.version, this.driver.version, ...compileOptions(this.arch), source].join("\n"),
    ];
  }

  private image(kernel: CudaStep["kernel"]): Uint8Array {
    const ready = this.ready.get(kernel.key);
    this.ready.delete(kernel.key);
    if (ready) return ready;
    const [source, key] = this.sourceOf(kernel);
    const stored = this.disk.read(key);
    if (stored) return stored;
    const image = this.nvrtc.compile(source, kernel.entry, compileOptions(this.arch));
    this.disk.write(key, image);
    return image;
  }
}
