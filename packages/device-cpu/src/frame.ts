// A program laid out in memory: launches with their argument blocks, and where every buffer's address stands in those blocks. A
// frame is bound to addresses and run; binding writes only what changed.

import { DeviceError } from "@everlong/core";
import type { KernelFunction } from "./kernel-cache.ts";
import type { ArgWord } from "./kernel-step.ts";
import type { SharedMemory } from "./memory.ts";
import type { ThreadPool } from "./threads.ts";

/** One kernel call, or work of the main thread in JavaScript (`host`). */
export interface Launch {
  readonly kernel: KernelFunction | undefined;
  readonly host: (() => void) | undefined;
  /** Word index of the argument block, relative to the frame's. */
  readonly words: number;
  readonly units: number;
  readonly grain: number;
  readonly scratchBytes: number;
  /** Step of the program that this belongs to. */
  readonly step: number;
  readonly name: string;
}

/** What frames share: memory, threads, and scratch of `scratchStride` bytes per thread. */
export interface Engine {
  readonly memory: SharedMemory;
  readonly pool: ThreadPool;
  scratch: number;
  scratchStride: number;
  launches: number;
}

const floatWord = new Float32Array(1);
const floatBits = new Int32Array(floatWord.buffer);

/** Collects argument words and launches of a frame. */
export class FrameBuilder {
  readonly launches: Launch[] = [];
  readonly words: number[] = [];
  readonly patches: { readonly buffer: number; readonly word: number; readonly offset: number }[] = [];

  /** Appends an argument block; `buffer` names the frame buffer of an address word and its offset in bytes. */
  block(
    args: readonly ArgWord[],
    resolve: (
      word: Exclude<ArgWord, number>,
    ) => number | { readonly buffer: number; readonly offset: number },
  ): number {
    while (this.words.length % 4 !== 0) this.words.push(0);
    const start = this.words.length;
    for (const word of args) {
      if (typeof word === "number") this.words.push(word | 0);
      else if ("f32" in word) {
        floatWord[0] = word.f32;
        this.words.push(floatBits[0]!);
      } else {
        const target = resolve(word);
        if (typeof target === "number") this.words.push(target | 0);
        else {
          this.patches.push({ buffer: target.buffer, word: this.words.length, offset: target.offset });
          this.words.push(0);
        }
      }
    }
    return start;
  }
}

/** What to throw for an error during a launch: a trap tells neither the kernel nor the reason. */
function trapError({ name }: Launch, error: unknown): unknown {
  if (!(error instanceof WebAssembly.RuntimeError)) return error;
  const hint =
    "Kernels trap on inputs that they cannot read, such as a kept filter of another device or made before enableWide().";
  return new DeviceError("cpu", `the kernel of ${name} stopped`, { got: error.message, hint, cause: error });
}

/** A built frame. Addresses are byte offsets in memory. */
export class Frame {
  readonly launches: readonly Launch[];
  /** Current address of every buffer. */
  readonly addresses: Float64Array;
  private readonly patchWords: readonly Int32Array[];
  private readonly patchOffsets: readonly Float64Array[];
  private readonly engine: Engine;
  private readonly firstWord: number;
  private readonly argsAddress: number;

  /** `block` is where the argument words go. */
  constructor(engine: Engine, builder: FrameBuilder, buffers: number, blockAddress: number) {
    this.engine = engine;
    this.launches = builder.launches;
    this.argsAddress = blockAddress;
    this.firstWord = blockAddress / 4;
    this.addresses = new Float64Array(buffers).fill(-1);
    const lists = Array.from({ length: buffers }, () => ({ words: [] as number[], offsets: [] as number[] }));
    for (const p of builder.patches) {
      lists[p.buffer]!.words.push(this.firstWord + p.word);
      lists[p.buffer]!.offsets.push(p.offset);
    }
    this.patchWords = lists.map((l) => Int32Array.from(l.words));
    this.patchOffsets = lists.map((l) => Float64Array.from(l.offsets));
    engine.memory.i32.set(builder.words, this.firstWord);
  }

  /** Gives buffer `index` its address. */
  bind(index: number, address: number): void {
    if (this.addresses[index] === address) return;
    this.addresses[index] = address;
    const words = this.patchWords[index]!;
    const offsets = this.patchOffsets[index]!;
    const memory = this.engine.memory.i32;
    for (let i = 0; i < words.length; i++) memory[words[i]!] = address + offsets[i]!;
  }

  /** Runs all launches in order. `after` is called after the last launch of every step (debugging). */
  run(after?: (step: number) => void): void {
    const { engine, launches } = this;
    const { pool, scratch, scratchStride } = engine;
    const alone = pool.threads === 1;
    let i = 0;
    try {
      for (; i < launches.length; i++) {
        const launch = launches[i]!;
        const { kernel } = launch;
        if (kernel === undefined) launch.host!();
        else {
          const args = (this.argsAddress + 4 * launch.words) | 0;
          if (alone || launch.units <= launch.grain) kernel.entry(args, 0, launch.units, scratch);
          else pool.run(kernel.id, kernel.entry, args, launch.units, launch.grain, scratch, scratchStride);
        }
        if (after && launches[i + 1]?.step !== launch.step) after(launch.step);
      }
    } catch (error) {
      throw trapError(launches[i]!, error);
    }
    engine.launches += launches.length;
  }
}
