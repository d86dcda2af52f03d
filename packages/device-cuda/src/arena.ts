// One region for the temporaries of all executables: they run one after the other on one stream, so the largest need serves
// everyone.

import type { DeviceError } from "@everlong/core";
import type { Handle } from "./driver.ts";
import type { Block, MemoryPool } from "./memory-pool.ts";

/** Someone who needs arena bytes while alive. */
export interface ArenaUser {
  readonly arena: number;
}

export class Arena {
  private readonly pool: MemoryPool;
  private readonly users = new Set<ArenaUser>();
  private block: Block | undefined;

  constructor(pool: MemoryPool) {
    this.pool = pool;
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

  /** Address of the region, large enough for every registered user. */
  address(refusal: (free: number) => DeviceError): Handle {
    this.block ??= this.pool.allocate(this.needed(), "temporaries of programs", refusal);
    return this.block.address;
  }

  private needed(): number {
    let most = 0;
    for (const u of this.users) most = Math.max(most, u.arena);
    return most;
  }

  private drop(): void {
    if (this.block) this.pool.free(this.block);
    this.block = undefined;
  }
}
