// Storage of tensors on the heap.

import { DeviceError, type Buffer, type Device } from "@everlong/core";
import type { Block, Heap } from "./heap.ts";

/** Holds a heap block for one owner; the finaliser shares this record, never the buffer itself. */
class Hold {
  block: Block | undefined;
  readonly heap: Heap;

  constructor(heap: Heap, block: Block) {
    this.heap = heap;
    this.block = block;
  }

  release(): void {
    const { block } = this;
    this.block = undefined;
    if (block) this.heap.free(block);
  }
}

// The last resort for buffers nobody freed. A finaliser may run between the steps of nothing: runs are synchronous.
const forgotten = new FinalizationRegistry<Hold>((hold) => hold.release());

/** A buffer of the CPU device. */
export class CpuBuffer implements Buffer {
  readonly device: Device;
  readonly bytes: number;
  private readonly hold: Hold;

  constructor(device: Device, heap: Heap, block: Block, bytes: number) {
    this.device = device;
    this.bytes = bytes;
    this.hold = new Hold(heap, block);
    forgotten.register(this, this.hold, this);
  }

  /** Byte address of the first element. Throws when the buffer was freed or donated. */
  get address(): number {
    return this.live().address;
  }

  free(): void {
    this.live();
    forgotten.unregister(this);
    this.hold.release();
  }

  /** Takes the memory out of this buffer, which is dead afterwards. */
  donate(): Block {
    const block = this.live();
    forgotten.unregister(this);
    this.hold.block = undefined;
    return block;
  }

  private live(): Block {
    const { block } = this.hold;
    if (!block) throw new DeviceError("cpu", "buffer is used after it was freed or donated");
    return block;
  }
}
