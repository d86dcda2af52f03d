// Storage of tensors on the heap, freed by its owner or, at the latest, when its owner is collected.

import { DeviceError, type Buffer, type Device } from "@everlong/core";
import type { Block, Heap } from "./heap.ts";

/** Holds a heap block for one owner. Registries know this record, never keep the buffer itself. */
class Hold {
  block: Block | undefined;

  constructor(block: Block) {
    this.block = block;
  }
}

/** A buffer of the CPU device. Made by {@link BufferRegistry.adopt}. */
export class CpuBuffer implements Buffer {
  readonly device: Device;
  readonly bytes: number;
  private readonly registry: BufferRegistry;
  private readonly hold: Hold;

  constructor(device: Device, registry: BufferRegistry, hold: Hold, bytes: number) {
    this.device = device;
    this.registry = registry;
    this.hold = hold;
    this.bytes = bytes;
  }

  /** Byte address of the first element. Throws when the buffer was freed or donated. */
  get address(): number {
    return this.live().address;
  }

  free(): void {
    this.live();
    this.registry.release(this.hold);
  }

  /** Takes the memory out of this buffer, which is dead afterwards. */
  donate(): Block {
    const block = this.live();
    this.hold.block = undefined;
    this.registry.release(this.hold);
    return block;
  }

  private live(): Block {
    const { block } = this.hold;
    if (!block) throw new DeviceError("cpu", "buffer is used after it was freed or donated");
    return block;
  }
}

/** The buffers of one heap. */
export class BufferRegistry {
  private readonly heap: Heap;
  private readonly owners = new Map<Hold, WeakRef<CpuBuffer>>();
  private readonly forgotten: FinalizationRegistry<Hold>;

  constructor(heap: Heap) {
    this.heap = heap;
    this.forgotten = new FinalizationRegistry((hold) => this.release(hold));
  }

  /** A new buffer that owns `block`. */
  adopt(device: Device, block: Block, bytes: number): CpuBuffer {
    const hold = new Hold(block);
    const buffer = new CpuBuffer(device, this, hold, bytes);
    this.owners.set(hold, new WeakRef(buffer));
    this.forgotten.register(buffer, hold, hold);
    return buffer;
  }

  /** Gives back what a buffer holds. */
  release(hold: Hold): void {
    this.forgotten.unregister(hold);
    this.owners.delete(hold);
    const { block } = hold;
    hold.block = undefined;
    if (block) this.heap.free(block);
  }

  /**
   * Collects garbage and frees what collected buffers held. The engine does not see the heap's memory, so it may put off a
   * collection while unreachable tensors fill it. Without a way to ask the engine nothing happens.
   */
  reclaim(): void {
    const collect = collector();
    if (!collect) return;
    collect();
    for (const [hold, owner] of this.owners) if (!owner.deref()) this.release(hold);
  }
}

let known: (() => void) | null | undefined;

/** The engine's full collection, if it can be asked for one. */
function collector(): (() => void) | null {
  if (known !== undefined) return known;
  const exposed = (globalThis as { gc?: () => void }).gc;
  known = exposed ?? null;
  if (!known && typeof process !== "undefined" && process.getBuiltinModule) {
    try {
      process.getBuiltinModule("node:v8").setFlagsFromString("--expose-gc");
      known = process.getBuiltinModule("node:vm").runInNewContext("gc") as () => void;
    } catch {
      known = null;
    }
  }
  return known;
}
