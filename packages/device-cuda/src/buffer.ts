// Storage of tensors on the device.

import { DeviceError, type Buffer, type Device, type Owners } from "@everlong/core";
import type { Handle } from "./driver.ts";
import type { Block, MemoryPool } from "./memory-pool.ts";

/** What an object holds on the device. It gives that back once, also when the object was forgotten. */
export interface Held {
  release(): void;
}

/** The record of a block; the finaliser shares it, never who leads to it. */
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

/** A block that one buffer after the other owns: it is given back when it was forgotten with the last of them. */
export class Owned {
  readonly owners: Owners<Held>;
  readonly hold: Hold;

  constructor(owners: Owners<Held>, pool: MemoryPool, block: Block) {
    this.owners = owners;
    this.hold = new Hold(pool, block);
    owners.adopt(this, this.hold);
  }
}

export class CudaBuffer implements Buffer {
  readonly device: Device;
  readonly bytes: number;
  private owned: Owned | undefined;

  constructor(device: Device, owned: Owned, bytes: number) {
    this.device = device;
    this.owned = owned;
    this.bytes = bytes;
  }

  /** Device address of the first element. Throws when the buffer was freed or donated. */
  get address(): Handle {
    return this.live().hold.block!.address;
  }

  free(): void {
    const { owners, hold } = this.live();
    owners.release(hold);
  }

  /** Hands the memory on to a buffer of `bytes` bytes; this one is dead afterwards. */
  donate(bytes: number): CudaBuffer {
    const owned = this.live();
    this.owned = undefined;
    return new CudaBuffer(this.device, owned, bytes);
  }

  private live(): Owned {
    const { owned } = this;
    if (!owned?.hold.block) throw new DeviceError("cuda", "buffer is used after it was freed or donated");
    return owned;
  }
}
