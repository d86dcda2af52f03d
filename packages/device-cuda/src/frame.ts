// The launches of a program with their argument words, and the addresses that fill them in.

import { DeviceError } from "@everlong/core";
import { TILE_MAP_WORDS, type CudaProduct, type CudaTileMap } from "@everlong/kernels/cuda";
import type { Cublas } from "./cublas.ts";
import { koffi, type Driver, type Handle } from "./driver.ts";
import type { Kernel } from "./kernel-cache.ts";

/** Where work goes. */
export interface Engine {
  readonly driver: Driver;
  readonly stream: Handle;
  launches: number;
}

/** A word that waits for the address of a buffer. */
export interface BufferWord {
  readonly buffer: number;
  readonly offset: number;
  /** A tile map of the buffer, which takes more words. */
  readonly map?: CudaTileMap;
}

/** A word as the frame holds it. */
export type ResolvedWord = number | { readonly f32: number } | BufferWord;

interface KernelLaunch {
  readonly kind: "kernel";
  readonly kernel: Kernel;
  readonly grid: readonly [number, number, number];
  readonly block: readonly [number, number, number];
  readonly sharedBytes: number;
  readonly step: number;
  readonly name: string;
  /** Position of the words in the frame's block, in words. */
  readonly at: number;
}

interface ProductLaunch {
  readonly kind: "product";
  readonly product: CudaProduct;
  readonly library: Cublas;
  readonly a: BufferWord;
  readonly b: BufferWord;
  readonly c: BufferWord;
  readonly bias: BufferWord | undefined;
  readonly added: BufferWord | undefined;
  readonly step: number;
  readonly name: string;
}

/** Work of the host between launches: scans (which only launch) and references (which wait). */
interface HostWork {
  readonly kind: "host";
  readonly run: () => void;
  readonly step: number;
  readonly name: string;
}

export type Launch = KernelLaunch | ProductLaunch | HostWork;
const WORD = 8;

/** Collects launches and words. */
export class FrameBuilder {
  readonly launches: Launch[] = [];
  readonly words: ResolvedWord[] = [];

  /** Adds a block of words; gives its position. */
  block(words: readonly ResolvedWord[]): number {
    const at = this.words.length;
    for (const word of words) {
      this.words.push(word);
      if (typeof word !== "number" && "map" in word)
        for (let i = 1; i < TILE_MAP_WORDS; i++) this.words.push(0);
    }
    return at;
  }
}

export class Frame {
  readonly addresses: Float64Array;
  readonly launches: readonly Launch[];
  private readonly engine: Engine;
  private readonly view: DataView;
  private readonly parameters: (BigUint64Array | undefined)[];
  private readonly patches: (Omit<BufferWord, "buffer"> & { readonly at: number })[][];

  constructor(engine: Engine, builder: FrameBuilder, buffers: number) {
    this.engine = engine;
    this.launches = builder.launches;
    this.addresses = new Float64Array(buffers);
    this.patches = Array.from({ length: buffers }, () => []);
    this.view = new DataView(new ArrayBuffer(Math.max(64, builder.words.length * WORD)));
    builder.words.forEach((word, i) => {
      if (typeof word === "number") this.view.setBigInt64(i * WORD, BigInt(word), true);
      else if ("f32" in word) this.view.setFloat32(i * WORD, word.f32, true);
      else this.patches[word.buffer]!.push({ ...word, at: i * WORD });
    });
    const base = builder.launches.length > 0 ? koffi().address(this.view) : 0n;
    this.parameters = this.launches.map((l) => {
      if (l.kind !== "kernel") return undefined;
      const cell = new BigUint64Array(new ArrayBuffer(8));
      cell[0] = base + BigInt(l.at * WORD);
      return cell;
    });
  }

  /** Sets where a buffer lies. */
  bind(buffer: number, address: Handle): void {
    this.addresses[buffer] = address;
    for (const { at, offset, map } of this.patches[buffer]!) {
      const target = address + offset;
      if (map) {
        new Uint8Array(this.view.buffer, at, TILE_MAP_WORDS * WORD).set(
          this.engine.driver.encodeTileMap(map, target),
        );
        continue;
      }
      this.view.setUint32(at, target % 2 ** 32, true);
      this.view.setUint32(at + 4, Math.floor(target / 2 ** 32), true);
    }
  }

  /** Launches everything in order. `after` is called when the last launch of a step is under way. */
  run(after?: (step: number) => void): void {
    const { engine, launches } = this;
    const { driver, stream } = engine;
    for (let i = 0; i < launches.length; i++) {
      const l = launches[i]!;
      if (l.kind === "kernel") {
        const code = driver.launch(
          l.kernel.handle,
          l.grid,
          l.block,
          l.sharedBytes,
          stream,
          this.parameters[i]!,
        );
        if (code !== 0) throw this.failed(l, driver.failure("cuLaunchKernel", code));
        engine.launches++;
      } else if (l.kind === "product") {
        const at = (w: BufferWord): Handle => this.addresses[w.buffer]! + w.offset;
        l.library.multiply(l.product, at(l.a), at(l.b), at(l.c), {
          bias: l.bias && at(l.bias),
          added: l.added && at(l.added),
        });
        engine.launches++;
      } else l.run();
      if (after && launches[i + 1]?.step !== l.step) after(l.step);
    }
  }

  private failed(l: KernelLaunch, cause: DeviceError): DeviceError {
    return new DeviceError("cuda", `step ${l.step} (${l.name}) cannot be launched`, {
      got: `${cause.message} Grid ${l.grid.join(" x ")}, block ${l.block.join(" x ")}, ${l.sharedBytes} bytes shared`,
      cause,
    });
  }
}
