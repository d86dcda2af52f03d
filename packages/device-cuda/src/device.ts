// The CUDA device: context, stream, memory, kernels, and the contract's entry points.

import {
  Arena,
  checkOptions,
  ConfigError,
  DeviceError,
  DTYPES,
  Owners,
  writeElement,
  type Buffer,
  type Device,
  type DeviceStats,
  type DType,
  type Executable,
  type Program,
  type Step,
  type TypedArray,
} from "@everlong/core";
import type { CudaTable, CudaTarget } from "@everlong/kernels/cuda";
import { CudaBuffer, Owned, type Held } from "./buffer.ts";
import { Cublas } from "./cublas.ts";
import { ATTRIBUTE, Driver, type Handle } from "./driver.ts";
import { CudaExecutable } from "./executable.ts";
import type { Engine } from "./frame.ts";
import { KernelCache } from "./kernel-cache.ts";
import { lower } from "./lowering.ts";
import { Nvrtc } from "./nvrtc.ts";
import { MemoryPool, type Block } from "./memory-pool.ts";
import type { Runtime } from "./runtime.ts";
import { Transfers } from "./transfers.ts";

export interface CudaDeviceOptions {
  /** Which GPU of the machine. Default 0. */
  readonly ordinal?: number;
  /** Bytes of device memory to use at most. Default: all of it. */
  readonly memoryLimit?: number;
}

/** How the device runs, for reports. */
export interface CudaState {
  /** `NVIDIA H100 80GB HBM3`. */
  readonly gpu: string;
  /** Compute capability: `9.0`. */
  readonly capability: string;
  /** CUDA version of the driver: `13.0`. */
  readonly driver: string;
  /** The compiler's version, or what stands in for it. */
  readonly nvrtc: string;
  /** Whether matrix products go to cuBLAS. */
  readonly cublas: boolean;
  /** Bytes of tensors and programs; freed ones that this process keeps for the next; what the GPU has free, and has in all. */
  readonly memory: {
    readonly live: number;
    readonly kept: number;
    readonly free: number;
    readonly total: number;
  };
}

/**
 * The device `cuda`. Runs launch work and return: on the device's stream, and on others beside it that begin behind it and that it waits for. Downloads wait
 * without blocking the event loop.
 */
export class CudaDevice implements Device, Runtime {
  readonly name: string;
  readonly defaultFloat = "f32";
  readonly dtypes: readonly DType[] = ["f32", "f16", "bf16", "i32", "u8", "bool"];
  readonly mostTensorBytes: number = Number.MAX_SAFE_INTEGER;
  readonly engine: Engine;
  readonly pool: MemoryPool;
  readonly arena: Arena<Block>;
  readonly owners: Owners<Held>;
  readonly kernels: KernelCache;
  readonly transfers: Transfers;
  readonly target: CudaTarget;
  readonly library: Cublas | undefined;
  private readonly ordinal: number;
  private readonly tables = new Map<string, Block>();
  private disposed = false;

  constructor(options: CudaDeviceOptions = {}) {
    checkOptions("cuda", options, ["ordinal", "memoryLimit"]);
    const { ordinal = 0, memoryLimit } = options;
    if (memoryLimit !== undefined && !(Number.isFinite(memoryLimit) && memoryLimit > 0))
      throw new ConfigError("cuda", "memoryLimit is no number of bytes", {
        expected: "more than 0",
        got: String(memoryLimit),
      });
    const driver = new Driver();
    const count = driver.deviceCount();
    if (!(Number.isInteger(ordinal) && ordinal >= 0 && ordinal < count)) {
      throw new DeviceError("cuda", "there is no such GPU", {
        expected: count === 0 ? "a GPU; the driver sees none" : `0 to ${count - 1}`,
        got: `${ordinal}`,
        ...(count === 0 ? { hint: "CUDA_VISIBLE_DEVICES may hide it." } : {}),
      });
    }
    this.ordinal = ordinal;
    this.name = ordinal === 0 ? "cuda" : `cuda:${ordinal}`;
    const arch = 10 * driver.attribute(ordinal, ATTRIBUTE.major) + driver.attribute(ordinal, ATTRIBUTE.minor);
    if (arch < 80) {
      throw new DeviceError("cuda", "the GPU is too old", {
        expected: "compute capability 8.0 (Ampere) or newer",
        got: `${arch / 10} (${driver.deviceName(ordinal)})`,
      });
    }
    driver.openContext(ordinal);
    const stream = driver.createStream();
    this.target = {
      arch,
      processors: driver.attribute(ordinal, ATTRIBUTE.processors),
      sharedLimit: driver.attribute(ordinal, ATTRIBUTE.sharedPerBlockOptin),
      cacheBytes: driver.attribute(ordinal, ATTRIBUTE.cacheBytes),
    };
    this.kernels = new KernelCache(driver, arch);
    // Asked now, so that a missing compiler is said here rather than in the middle of a run. Graphs know it from CUDA 12.3 on.
    const overlaps = this.kernels.waitInside && driver.version >= 12030;
    this.engine = { driver, stream, beside: { streams: [], events: [] }, overlaps, launches: 0 };
    this.pool = new MemoryPool(driver, stream, memoryLimit);
    this.owners = new Owners((held) => held.release());
    this.pool.reclaim = () => this.owners.reclaim();
    this.arena = new Arena({
      take: (bytes, refusal) => this.pool.allocate(bytes, "temporaries of programs", refusal),
      give: (block) => this.pool.free(block),
    });
    this.transfers = new Transfers(driver, stream);
    this.library = Cublas.open(driver, stream);
  }

  get stats(): DeviceStats {
    return {
      liveBytes: this.pool.liveBytes,
      peakBytes: this.pool.peakBytes,
      kernels: this.kernels.built,
      launches: this.engine.launches,
    };
  }

  state(): CudaState {
    this.assertOpen();
    const { driver } = this.engine;
    const { origin } = this.kernels;
    return {
      gpu: driver.deviceName(this.ordinal),
      capability: (this.target.arch / 10).toFixed(1),
      driver: `${Math.floor(driver.version / 1000)}.${(driver.version % 1000) / 10}`,
      nvrtc: origin instanceof Nvrtc ? origin.version : `none; ${origin.count} kernels of the package`,
      cublas: this.library !== undefined,
      memory: { live: this.pool.liveBytes, kept: this.pool.keptBytes, ...driver.memoryInfo() },
    };
  }

  /**
   * Gives memory that nobody needs back to the GPU, for other processes: waits for all work, collects garbage, so that forgotten tensors and
   * programs let go, and keeps no freed memory. What runs next takes memory anew. Returns the bytes by which the GPU has more free.
   */
  releaseMemory(): number {
    this.assertOpen();
    const { driver, stream } = this.engine;
    driver.synchronize(stream);
    const before = driver.memoryInfo().free;
    this.owners.reclaim();
    this.arena.trim();
    this.pool.trim();
    this.transfers.trim();
    return driver.memoryInfo().free - before;
  }

  /** Fills fresh memory with NaN bits, so that reading what nobody wrote shows (tests). */
  setPoison(on: boolean): void {
    this.pool.poison = on;
  }

  supports(step: Step): true | string {
    if (step.kind === "scan") {
      for (const inner of step.body.steps) {
        const answer = this.supports(inner);
        if (answer !== true) return answer;
      }
      return true;
    }
    const lowered = lower(step, this.target);
    return typeof lowered === "string" ? lowered : true;
  }

  upload(data: TypedArray, dtype: DType): Buffer {
    this.assertOpen();
    this.checkDType(dtype);
    const bytes = data.length * DTYPES[dtype].bytes;
    const block = this.pool.allocate(bytes, `${dtype}[${data.length}]`);
    let source = data;
    if (data.constructor !== DTYPES[dtype].array(0).constructor) {
      source = DTYPES[dtype].array(data.length);
      for (let i = 0; i < data.length; i++) writeElement(dtype, source, i, data[i]!);
    }
    const buffer = this.adopt(block, bytes);
    this.transfers.upload(block.address, new Uint8Array(source.buffer, source.byteOffset, source.byteLength));
    return buffer;
  }

  async download(buffer: Buffer, dtype: DType, length: number): Promise<TypedArray> {
    const { address, bytes } = this.own(buffer);
    const out = DTYPES[dtype].array(length);
    if (out.byteLength > bytes) {
      throw new DeviceError("cuda", "download is longer than the buffer", {
        expected: `at most ${bytes} bytes`,
        got: `${out.byteLength}`,
      });
    }
    await this.transfers.download(address, new Uint8Array(out.buffer));
    return out;
  }

  load(program: Program): Executable {
    this.assertOpen();
    for (const b of program.buffers) this.checkDType(b.dtype);
    return new CudaExecutable(this, program);
  }

  assertOpen(): void {
    if (this.disposed) throw new DeviceError(this.name, "the device is used after it was disposed");
  }

  /**
   * Gives back all that the device holds, its stream and kernels included, when all work is done; for devices of one's own. Its tensors and
   * programs are dead afterwards.
   */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    const { driver, stream, beside } = this.engine;
    driver.synchronize(stream);
    this.owners.releaseAll();
    this.arena.trim();
    for (const block of this.tables.values()) this.pool.free(block);
    this.tables.clear();
    this.pool.trim();
    this.transfers.dispose();
    this.library?.dispose();
    this.kernels.dispose();
    for (const event of beside.events) driver.dropEvent(event);
    for (const other of [...beside.streams, stream]) driver.dropStream(other);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Resolves when all work launched so far is done. */
  async settled(): Promise<void> {
    this.assertOpen();
    await this.transfers.settled();
  }

  adopt(block: Block, bytes: number): CudaBuffer {
    return new CudaBuffer(this, new Owned(this.owners, this.pool, block), bytes);
  }

  /** The buffer as one of this device; an error otherwise. */
  own(buffer: Buffer): CudaBuffer {
    if (buffer instanceof CudaBuffer && buffer.device === this) return buffer;
    throw new DeviceError("cuda", "buffer belongs to another device", { got: buffer.device.name });
  }

  table(table: CudaTable): Handle {
    let block = this.tables.get(table.key);
    if (!block) {
      const memory = new DataView(new ArrayBuffer(table.bytes));
      const { fill } = table;
      fill(memory);
      block = this.pool.allocate(table.bytes, `table ${table.key}`);
      this.transfers.upload(block.address, new Uint8Array(memory.buffer));
      this.tables.set(table.key, block);
    }
    return block.address;
  }

  private checkDType(dtype: DType): void {
    if (!this.dtypes.includes(dtype)) {
      throw new ConfigError("cuda", `the CUDA device has no ${dtype}`, { expected: this.dtypes.join(", ") });
    }
  }
}
