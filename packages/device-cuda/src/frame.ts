// The launches of a program with their argument words, and the addresses that fill them in.

import { DeviceError } from "@everlong/core";
import { TILE_MAP_WORDS, type CudaProduct, type CudaTileMap } from "@everlong/kernels/cuda";
import type { Cublas } from "./cublas.ts";
import type { Driver, Handle } from "./driver.ts";
import { koffi } from "./shared-library.ts";
import type { Kernel } from "./kernel-cache.ts";

/** Where work goes. */
export interface Engine {
  readonly driver: Driver;
  readonly stream: Handle;
  /** Streams of work that runs beside that of `stream`, and marks of what is over; made when first used. */
  readonly beside: { readonly streams: Handle[]; readonly events: Handle[] };
  /** Whether kernels may be launched beside the end of those in front of them, for which they wait by themselves. */
  readonly overlaps: boolean;
  launches: number;
  /** While set, everything goes to the one stream, and every launch that is under way is told, those of scans' bodies too. */
  watch?: LaunchWatch | undefined;
}

/** @param endsStep whether the launch is the last of its step */
export type LaunchWatch = (frame: Frame, launch: Launch, endsStep: boolean) => void;

/** A word that waits for the address of a buffer. */
export interface BufferWord {
  readonly buffer: number;
  readonly offset: number;
  /** A tile map of the buffer, which takes more words. */
  readonly map?: CudaTileMap;
}

/** A word as the frame holds it. */
export type ResolvedWord = number | { readonly f32: number } | BufferWord;

/** Where in a program's order a launch stands. */
interface Ordered {
  /** The stream; 0 (default): that of the device. */
  readonly lane?: number;
  /** Launches of other lanes, by their number, that must be over. */
  readonly waits?: readonly number[];
}

interface KernelLaunch extends Ordered {
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

interface ProductLaunch extends Ordered {
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
interface HostWork extends Ordered {
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

  /** Puts the launches from `first` on into a lane, behind launches of others. */
  order(first: number, lane: number, waits: readonly number[]): void {
    for (let i = first; i < this.launches.length; i++)
      this.launches[i] = { ...this.launches[i]!, lane, waits: i === first ? waits : [] };
  }

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

/** Streams beside the device's, and what their launches wait for. */
class LaunchOrder {
  private readonly engine: Engine;
  private readonly launches: readonly Ordered[];
  private readonly lanes: readonly number[];
  /** The event behind a launch that others wait for. */
  private readonly eventOf = new Map<number, number>();

  constructor(engine: Engine, launches: readonly Ordered[]) {
    this.engine = engine;
    this.launches = launches;
    this.lanes = [...new Set(launches.map((l) => l.lane ?? 0))].filter((lane) => lane > 0);
    for (const { waits = [] } of launches)
      for (const i of waits) if (!this.eventOf.has(i)) this.eventOf.set(i, 1 + this.eventOf.size);
  }

  private stream(lane: number): Handle {
    const { driver, stream, beside } = this.engine;
    return lane === 0 ? stream : (beside.streams[lane - 1] ??= driver.createStream());
  }

  private event(i: number): Handle {
    const { driver, beside } = this.engine;
    return (beside.events[i] ??= driver.createEvent());
  }

  /** All lanes start behind what the device's stream holds already. */
  begin(): void {
    const { driver, stream } = this.engine;
    driver.record(this.event(0), stream);
    for (const lane of this.lanes) driver.waitOn(this.stream(lane), this.event(0));
  }

  /** Makes launch `i` wait; gives its stream. */
  enter(i: number): Handle {
    const { lane = 0, waits = [] } = this.launches[i]!;
    const stream = this.stream(lane);
    for (const other of waits) this.engine.driver.waitOn(stream, this.event(this.eventOf.get(other)!));
    return stream;
  }

  leave(i: number): void {
    const event = this.eventOf.get(i);
    if (event !== undefined)
      this.engine.driver.record(this.event(event), this.stream(this.launches[i]!.lane ?? 0));
  }

  /** What comes later on the device's stream waits for all lanes. */
  end(): void {
    const { driver, stream } = this.engine;
    for (const lane of this.lanes) {
      driver.record(this.event(0), this.stream(lane));
      driver.waitOn(stream, this.event(0));
    }
  }

  /** As {@link end}, as far as the device still answers. */
  endAfterFailure(): void {
    try {
      this.end();
    } catch {
      // The failure in front of this one tells.
    }
  }
}

/** Tile maps kept of a word: buffers come back at few different addresses. */
const MOST_TILE_MAPS = 16;

/** A tile map at the addresses where its buffer lay. */
class TileMaps {
  private readonly driver: Driver;
  private readonly map: CudaTileMap;
  private readonly made = new Map<Handle, Uint8Array>();

  constructor(driver: Driver, map: CudaTileMap) {
    this.driver = driver;
    this.map = map;
  }

  at(address: Handle): Uint8Array {
    let words = this.made.get(address);
    if (!words) {
      if (this.made.size >= MOST_TILE_MAPS) this.made.clear();
      words = this.driver.encodeTileMap(this.map, address).slice();
      this.made.set(address, words);
    }
    return words;
  }
}

/** Where the address of a buffer stands in the frame's block, in bytes, or a tile map of it. */
interface Patch {
  readonly at: number;
  readonly offset: number;
  readonly maps: TileMaps | undefined;
}

export class Frame {
  readonly addresses: Float64Array;
  readonly launches: readonly Launch[];
  private readonly engine: Engine;
  private readonly view: DataView;
  private readonly parameters: (BigUint64Array | undefined)[];
  private readonly order: LaunchOrder | undefined;
  /** Launches that may start beside the end of the one in front of them on their stream. */
  private readonly early: readonly boolean[];
  private readonly patches: Patch[][];

  constructor(engine: Engine, builder: FrameBuilder, buffers: number) {
    this.engine = engine;
    this.launches = builder.launches;
    this.order = builder.launches.some((l) => l.lane) ? new LaunchOrder(engine, builder.launches) : undefined;
    const last = new Map<number, Launch>();
    this.early = builder.launches.map((l) => {
      const before = last.get(l.lane ?? 0);
      last.set(l.lane ?? 0, l);
      const follows = before?.kind === "kernel" && (l.waits ?? []).length === 0;
      return engine.overlaps && l.kind === "kernel" && follows;
    });
    this.addresses = new Float64Array(buffers).fill(Number.NaN);
    this.patches = Array.from({ length: buffers }, () => []);
    this.view = new DataView(new ArrayBuffer(Math.max(64, builder.words.length * WORD)));
    builder.words.forEach((word, i) => {
      if (typeof word === "number") this.view.setBigInt64(i * WORD, BigInt(word), true);
      else if ("f32" in word) this.view.setFloat32(i * WORD, word.f32, true);
      else {
        const { buffer, offset, map } = word;
        const maps = map && new TileMaps(engine.driver, map);
        this.patches[buffer]!.push({ at: i * WORD, offset, maps });
      }
    });
    const base = builder.launches.length > 0 ? koffi().address(this.view) : 0n;
    this.parameters = this.launches.map((l) => {
      if (l.kind !== "kernel") return undefined;
      const cell = new BigUint64Array(new ArrayBuffer(8));
      cell[0] = base + BigInt(l.at * WORD);
      return cell;
    });
  }

  /** Sets where a buffer lies. Nothing is written where it lay there before. */
  bind(buffer: number, address: Handle): void {
    if (this.addresses[buffer] === address) return;
    // Known again when every word is there: making a tile map may fail.
    this.addresses[buffer] = Number.NaN;
    for (const { at, offset, maps } of this.patches[buffer]!) {
      const target = address + offset;
      if (maps) {
        new Uint8Array(this.view.buffer, at).set(maps.at(target));
        continue;
      }
      this.view.setUint32(at, target % 2 ** 32, true);
      this.view.setUint32(at + 4, Math.floor(target / 2 ** 32), true);
    }
    this.addresses[buffer] = address;
  }

  /** Launches everything. */
  run(): void {
    const order = this.engine.watch ? undefined : this.order;
    order?.begin();
    try {
      this.launchAll(order);
    } catch (error) {
      // What was launched on other streams may still use memory that is given out again.
      order?.endAfterFailure();
      throw error;
    }
    order?.end();
  }

  private launchAll(order: LaunchOrder | undefined): void {
    const { engine, launches } = this;
    const { driver, watch } = engine;
    for (let i = 0; i < launches.length; i++) {
      const l = launches[i]!;
      const stream = order?.enter(i) ?? engine.stream;
      if (l.kind === "kernel") {
        const code = driver.launch(
          l.kernel.handle,
          l.grid,
          l.block,
          l.sharedBytes,
          stream,
          this.parameters[i]!,
          !watch && this.early[i],
        );
        if (code !== 0) throw this.failed(l, driver.failure("cuLaunchKernel", code));
        engine.launches++;
      } else if (l.kind === "product") {
        try {
          this.multiply(l);
        } catch (cause) {
          throw this.failed(l, cause as DeviceError);
        }
        engine.launches++;
      } else l.run();
      order?.leave(i);
      watch?.(this, l, launches[i + 1]?.step !== l.step);
    }
  }

  private multiply({ library, product, a, b, c, bias, added }: ProductLaunch): void {
    const at = (w: BufferWord): Handle => this.addresses[w.buffer]! + w.offset;
    library.multiply(product, at(a), at(b), at(c), { bias: bias && at(bias), added: added && at(added) });
  }

  private failed(l: KernelLaunch | ProductLaunch, cause: DeviceError): DeviceError {
    const extent =
      l.kind === "kernel"
        ? ` Grid ${l.grid.join(" x ")}, block ${l.block.join(" x ")}, ${l.sharedBytes} bytes shared`
        : "";
    return new DeviceError("cuda", `step ${l.step} (${l.name}) cannot be launched`, {
      got: `${cause.message}${extent}`,
      cause,
    });
  }
}

/** What a launch runs, for people. */
export function launchedName(l: Launch): string {
  if (l.kind === "kernel") return l.kernel.name;
  return l.kind === "product" ? "cublas" : "host";
}
