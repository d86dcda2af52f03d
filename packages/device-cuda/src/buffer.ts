// Storage of tensors on the device.

import { DeviceError, type Buffer, type Device } from "@everlong/core";
import type { Handle } from "./driver.ts";
import type { Block, MemoryPool } from "./memory-pool.ts";

/** Holds a block for one owner; the finaliser shares this record, never the buffer itself. */
class Hold {
  block: Block | undefined;
  readonly pool: MemoryPool;

  constructor(pool: MemoryPool, block: Block) {
    this.pool = pool;
    this.block = block;
  }

  release(): void {
    const { block } = this;
    this.block = undefined;
    if (block) this.pool.free(block);
  }
}

// The last resort for buffers nobody freed.
const forgotten = new FinalizationRegistry<Hold>((hold) => hold.release());

export class CudaBuffer implements Buffer {
  readonly device: Device;
  readonly bytes: number;
  private readonly hold: Hold;

  constructor(device: Device, pool: MemoryPool, block: Block, bytes: number) {
    this.device = device;
    this.bytes = bytes;
    this.hold = new Hold(pool, block);
    forgotten.register(this, this.hold, this);
  }

  /** Device address of the first element. Throws when the buffer was freed or donated. */
  get address(): Handle {
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
    if (!block) throw new DeviceError("cuda", "buffer is used after it was freed or donated");
    return block;
  }
}
