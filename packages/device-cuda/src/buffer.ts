// Storage of tensors on the device.

import { DeviceError, type Buffer, type Device, type Owners } from "@everlong/core";
import type { Handle } from "./driver.ts";
import type { Block, MemoryPool } from "./memory-pool.ts";

/** What an object holds on the device. It gives that back once, also when the object was forgotten. */
export interface Held {
  release(): void;
}

/** Holds a block for one owner; the finaliser shares this record, never the buffer itself. */
class Hold implements Held {
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

export class CudaBuffer implements Buffer {
  readonly device: Device;
  readonly bytes: number;
  private readonly owners: Owners<Held>;
  private readonly hold: Hold;

  constructor(device: Device, owners: Owners<Held>, pool: MemoryPool, block: Block, bytes: number) {
    this.device = device;
    this.owners = owners;
    this.bytes = bytes;
    this.hold = new Hold(pool, block);
    owners.adopt(this, this.hold);
  }

  /** Device address of the first element. Throws when the buffer was freed or donated. */
  get address(): Handle {
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
    if (!block) throw new DeviceError("cuda", "buffer is used after it was freed or donated");
    return block;
  }
}
