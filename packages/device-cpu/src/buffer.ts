// Storage of tensors on the heap, freed by its owner or, at the latest, when its owner is collected.

import { DeviceError, Owners, type Buffer, type Device } from "@everlong/core";
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
  private readonly owners: Owners<Hold>;
  private readonly hold: Hold;

  constructor(device: Device, owners: Owners<Hold>, hold: Hold, bytes: number) {
    this.device = device;
    this.owners = owners;
    this.hold = hold;
    this.bytes = bytes;
  }

  /** Byte address of the first element. Throws when the buffer was freed or donated. */
  get address(): number {
    return this.live().address;
  }

  free(): void {
    this.live();
    this.owners.release(this.hold);
  }

  /** Takes the memory out of this buffer, which is dead afterwards. */
  donate(): Block {
    const block = this.live();
    this.owners.forget(this.hold);
    this.hold.block = undefined;
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
  private readonly owners: Owners<Hold>;

  constructor(heap: Heap) {
    this.owners = new Owners((hold) => {
      const { block } = hold;
      hold.block = undefined;
      if (block) heap.free(block);
    });
  }

  /** A new buffer that owns `block`. */
  adopt(device: Device, block: Block, bytes: number): CpuBuffer {
    const hold = new Hold(block);
    const buffer = new CpuBuffer(device, this.owners, hold, bytes);
    this.owners.adopt(buffer, hold);
    return buffer;
  }

  /** Collects garbage and frees what collected buffers held. */
  reclaim(): void {
    this.owners.reclaim();
  }
}
