// What executables need of the device.

import type { CudaTable, CudaTarget } from "@everlong/kernels/cuda";
import type { Arena, Buffer, Owners } from "@everlong/core";
import type { CudaBuffer, Held } from "./buffer.ts";
import type { Cublas } from "./cublas.ts";
import type { Handle } from "./driver.ts";
import type { Engine, Frame } from "./frame.ts";
import type { KernelCache } from "./kernel-cache.ts";
import type { Block, MemoryPool } from "./memory-pool.ts";
import type { Transfers } from "./transfers.ts";

export interface Runtime {
  readonly engine: Engine;
  readonly pool: MemoryPool;
  readonly arena: Arena<Block>;
  /** Buffers and programs, and what they hold. */
  readonly owners: Owners<Held>;
  readonly kernels: KernelCache;
  readonly transfers: Transfers;
  readonly target: CudaTarget;
  readonly library: Cublas | undefined;
  /** Throws when the device was disposed. */
  assertOpen(): void;
  /** Address of a table of constants, filled at first use and kept. */
  table(table: CudaTable): Handle;
  own(buffer: Buffer): CudaBuffer;
  adopt(block: Block, bytes: number): CudaBuffer;
}

/** What is said of a step. */
interface StepInfo {
  readonly name: string;
  readonly flops: number;
  /** Bytes that its kernels need besides the program's buffers; those of other steps may lie there too. */
  readonly scratch: number;
}

/** A program laid out: its launches, and what it needs while it runs. */
export interface Layout {
  readonly frame: Frame;
  readonly arenaBytes: number;
  readonly steps: readonly StepInfo[];
  /** Whether a run only launches, so that it can be recorded. */
  readonly recordable: boolean;
  /** Launches of one run. */
  readonly launches: number;
  readonly bindArena: (address: Handle) => void;
}

/** Temporaries start on a multiple of 256 bytes. */
export const aligned = (bytes: number): number => Math.ceil(bytes / 256) * 256;
