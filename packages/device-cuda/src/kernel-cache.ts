// Kernels by key: from memory, from disk, or compiled now.

import type { CudaStep } from "@everlong/kernels/cuda";
import { cudaPrelude } from "@everlong/kernels/cuda";
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

export class KernelCache {
  built = 0;
  private readonly driver: Driver;
  private readonly arch: number;
  private readonly kernels = new Map<string, Kernel & { shared: number }>();
  private readonly disk: DiskCache;
  private compiler: Nvrtc | undefined;

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

  private image(kernel: CudaStep["kernel"]): Uint8Array {
    const options = compileOptions(this.arch);
    const source = `${cudaPrelude}\n${kernel.source()}`;
    const key = [this.nvrtc.version, this.driver.version, ...options, source].join("\n");
    const stored = this.disk.read(key);
    if (stored) return stored;
    const image = this.nvrtc.compile(source, kernel.entry, options);
    this.disk.write(key, image);
    return image;
  }
}
