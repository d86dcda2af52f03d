// What the parts of the device share: the view of it that layouts, executables and scans need.

import type { Arena, Buffer } from "@everlong/core";
import type { CpuBuffer } from "./buffer.ts";
import type { Engine, Frame } from "./frame.ts";
import type { Block, Heap } from "./heap.ts";
import type { KernelCache } from "./kernel-cache.ts";
import type { WasmTable } from "./kernel-step.ts";

/** The device as its executables see it. */
export interface Runtime {
  readonly heap: Heap;
  readonly arena: Arena<Block>;
  readonly kernels: KernelCache;
  readonly engine: Engine;
  /** A new buffer that owns the block at `address`. */
  readonly adopt: (block: ReturnType<Heap["allocate"]>, bytes: number) => CpuBuffer;
  /** The buffer as one of this device; an error otherwise. */
  readonly own: (buffer: Buffer) => CpuBuffer;
  /** Address of a table of constants, filled at first use and kept. */
  readonly table: (table: WasmTable) => number;
  /** Makes sure that every thread has `bytes` of scratch memory. */
  readonly reserveScratch: (bytes: number) => void;
}

const ALIGN = 64;
export const aligned = (bytes: number): number => Math.ceil(bytes / ALIGN) * ALIGN;

export interface Layout {
  readonly frame: Frame;
  /** Bytes of the arena that the program needs, those of its scans' bodies included. */
  readonly arenaBytes: number;
  readonly scratchBytes: number;
  /** Per step: what `describe` prints. */
  readonly steps: readonly { readonly name: string; readonly flops: number }[];
  /** Tells where the arena is now. */
  readonly bindArena: (address: number) => void;
}
