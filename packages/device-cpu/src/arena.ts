// One region for the temporaries of all executables: they run one at a time, so the largest need serves everyone.

import type { DeviceError } from "@everlong/core";
import type { Block, Heap } from "./heap.ts";

/** Someone who needs arena bytes while alive. */
export interface ArenaUser {
  readonly arena: number;
}

export class Arena {
  private readonly heap: Heap;
  private readonly users = new Set<ArenaUser>();
  private block: Block | undefined;

  constructor(heap: Heap) {
    this.heap = heap;
  }

  /** Registers a user; memory is taken at the first run. */
  reserve(user: ArenaUser): void {
    if (user.arena === 0) return;
    this.users.add(user);
    if (this.block && this.block.bytes < user.arena) this.drop();
  }

  /** Forgets a user; the region shrinks when what is left needs less than half of it. */
  release(user: ArenaUser): void {
    if (!this.users.delete(user) || !this.block) return;
    if (this.needed() * 2 <= this.block.bytes) this.drop();
  }

  /** Address of the region, large enough for every registered user. `refusal` makes the error for a full heap. */
  address(refusal: (limit: number) => DeviceError): number {
    if (!this.block) {
      const bytes = this.needed();
      if (!this.heap.fits(bytes)) this.heap.reclaim?.();
      if (!this.heap.fits(bytes)) throw refusal(this.heap.memory.limit);
      this.block = this.heap.allocate(bytes, "temporaries of programs");
    }
    return this.block.address;
  }

  private needed(): number {
    let most = 0;
    for (const u of this.users) most = Math.max(most, u.arena);
    return most;
  }

  private drop(): void {
    if (this.block) this.heap.free(this.block);
    this.block = undefined;
  }
}
