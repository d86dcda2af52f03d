// The CPU device: shared heap, kernel cache, threads, and the contract's entry points.

import {
  Arena,
  checkOptions,
  DeviceError,
  DTypeError,
  DTYPES,
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
import { supportsRelaxedSimd, supportsSimd } from "@everlong/wasm";
import { BufferRegistry, CpuBuffer } from "./buffer.ts";
import { CpuExecutable } from "./executable.ts";
import type { Engine } from "./frame.ts";
import { Heap, type Block } from "./heap.ts";
import { KernelCache } from "./kernel-cache.ts";
import type { WasmTable } from "./kernel-step.ts";
import { lower } from "./lowering.ts";
import { SharedMemory } from "./memory.ts";
import type { Runtime } from "./runtime.ts";
import { defaultThreads, ThreadPool } from "./threads.ts";
import { engineName, tryWide } from "./wide.ts";

export interface CpuDeviceOptions {
  /** Threads, the main one included. Default: `EVERLONG_THREADS`, else the available cores. */
  readonly threads?: number;
  /** Bytes the heap may grow to. Default and most: 4 GiB. */
  readonly heapLimit?: number;
  /** Fill fresh and freed memory with NaN, to find reads of either (tests). Default false. */
  readonly poison?: boolean;
}

/** How the device runs, for reports. */
export interface CpuState {
  /** Whether kernels are emitted in pairs of vectors (V8's revectorizer is on and proved itself). */
  readonly wide: boolean;
  /** Whether fused multiply-add is used. */
  readonly relaxed: boolean;
  readonly threads: number;
  /** `v8 13.6.233` and the like. */
  readonly engine: string;
}

/** The device `cpu`. Work is done when `run` returns. */
export class CpuDevice implements Device, Runtime {
  readonly name = "cpu";
  readonly defaultFloat = "f32";
  readonly dtypes: readonly DType[] = ["f32", "f16", "bf16", "i32", "u8", "bool"];
  readonly heap: Heap;
  readonly arena: Arena<Block>;
  readonly kernels: KernelCache;
  readonly engine: Engine;
  private readonly memory: SharedMemory;
  private readonly pool: ThreadPool;
  private readonly tables = new Map<string, Block>();
  private readonly buffers: BufferRegistry;
  private scratch: Block | undefined;
  private scratchThreads = 0;

  constructor(options: CpuDeviceOptions = {}) {
    checkOptions("cpu", options, ["threads", "heapLimit", "poison"]);
    if (!supportsSimd()) {
      throw new DeviceError("cpu", "this engine has no WebAssembly SIMD with shared memory", {
        hint: "Use Node 24 or a current browser.",
      });
    }
    this.memory = new SharedMemory(options.heapLimit);
    this.heap = new Heap(this.memory, { poison: options.poison ?? false });
    this.buffers = new BufferRegistry(this.heap);
    this.heap.reclaim = () => this.buffers.reclaim();
    this.arena = new Arena({
      take: (bytes, refusal) => {
        const { heap } = this;
        if (!heap.fits(bytes)) heap.reclaim?.();
        if (!heap.fits(bytes)) throw refusal(heap.memory.limit);
        return heap.allocate(bytes, "temporaries of programs");
      },
      give: (block) => this.heap.free(block),
    });
    this.pool = new ThreadPool(this.memory, options.threads ?? defaultThreads());
    this.kernels = new KernelCache(this.memory, this.pool, { width: 1, relaxed: supportsRelaxedSimd() });
    this.engine = { memory: this.memory, pool: this.pool, scratch: 0, scratchStride: 0, launches: 0 };
  }

  get stats(): DeviceStats {
    return {
      liveBytes: this.heap.liveBytes,
      peakBytes: this.heap.peakBytes,
      kernels: this.kernels.built,
      launches: this.engine.launches,
    };
  }

  /**
   * Emits kernels for V8's 256-bit revectorizer from now on, if the engine has it and a self-test of a few milliseconds
   * finds it faster and exact. Sets a process-wide V8 flag, so it is never done on its own. Returns whether it is on.
   */
  enableWide(): boolean {
    if (this.kernels.target.width === 1 && tryWide())
      this.kernels.target = { ...this.kernels.target, width: 2 };
    return this.kernels.target.width === 2;
  }

  /** Sets the number of threads, the main one included. Results do not depend on it. */
  setThreads(threads: number): void {
    this.pool.setThreads(threads);
    this.fitScratch(this.engine.scratchStride);
  }

  state(): CpuState {
    const { width, relaxed } = this.kernels.target;
    return { wide: width === 2, relaxed, threads: this.pool.threads, engine: engineName() };
  }

  supports(step: Step): true | string {
    if (step.kind === "scan") {
      for (const inner of step.body.steps) {
        const answer = this.supports(inner);
        if (answer !== true) return answer;
      }
      return true;
    }
    const lowered = lower(step, this.kernels.target);
    return typeof lowered === "string" ? lowered : true;
  }

  upload(data: TypedArray, dtype: DType): Buffer {
    this.checkDType(dtype);
    const bytes = data.length * DTYPES[dtype].bytes;
    const block = this.heap.allocate(bytes, `${dtype}[${data.length}]`);
    const like = DTYPES[dtype].array(0);
    if (data.constructor === like.constructor) {
      this.memory.u8.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), block.address);
    } else {
      const converted = DTYPES[dtype].array(data.length);
      for (let i = 0; i < data.length; i++) writeElement(dtype, converted, i, data[i]!);
      this.memory.u8.set(new Uint8Array(converted.buffer), block.address);
    }
    return this.adopt(block, bytes);
  }

  download(buffer: Buffer, dtype: DType, length: number): Promise<TypedArray> {
    const { address, bytes } = this.own(buffer);
    const out = DTYPES[dtype].array(length);
    if (out.byteLength > bytes) {
      throw new DeviceError("cpu", "download is longer than the buffer", {
        expected: `at most ${bytes} bytes`,
        got: `${out.byteLength}`,
      });
    }
    new Uint8Array(out.buffer).set(this.memory.u8.subarray(address, address + out.byteLength));
    return Promise.resolve(out);
  }

  load(program: Program): Executable {
    for (const b of program.buffers) this.checkDType(b.dtype);
    return new CpuExecutable(this, program);
  }

  /** Stops the worker threads; they start again when needed. */
  dispose(): void {
    this.pool.dispose();
  }

  adopt(block: Block, bytes: number): CpuBuffer {
    return this.buffers.adopt(this, block, bytes);
  }

  /** The buffer as one of this device; an error otherwise. */
  own(buffer: Buffer): CpuBuffer {
    if (buffer instanceof CpuBuffer && buffer.device === this) return buffer;
    throw new DeviceError("cpu", "buffer belongs to another device", { got: buffer.device.name });
  }

  /** Address of a table of constants, filled at first use and kept. */
  table(table: WasmTable): number {
    let block = this.tables.get(table.key);
    if (!block) {
      block = this.heap.allocate(table.bytes, `table ${table.key}`);
      const { fill } = table;
      fill(new DataView(this.memory.buffer), block.address);
      this.tables.set(table.key, block);
    }
    return block.address;
  }

  /** Makes sure that every thread has `bytes` of scratch memory. */
  reserveScratch(bytes: number): void {
    this.fitScratch(Math.max(bytes, this.engine.scratchStride));
  }

  private fitScratch(bytes: number): void {
    // The odd cache line keeps threads' scratch off the same sets.
    const stride = bytes === this.engine.scratchStride ? bytes : Math.ceil(bytes / 4096) * 4096 + 64;
    const { threads } = this.pool;
    if (
      stride === 0 ||
      (this.scratch && stride === this.engine.scratchStride && threads <= this.scratchThreads)
    )
      return;
    if (this.scratch) this.heap.free(this.scratch);
    this.scratch = this.heap.allocate(stride * threads, "scratch memory of the threads");
    this.scratchThreads = threads;
    this.engine.scratch = this.scratch.address;
    this.engine.scratchStride = stride;
  }

  private checkDType(dtype: DType): void {
    if (!this.dtypes.includes(dtype)) {
      throw new DTypeError("cpu", `the CPU device has no ${dtype}`, { expected: this.dtypes.join(", ") });
    }
  }
}
