// One region for the temporaries of all executables of a device: they run one after the other, so the largest need serves everyone.

/** Someone who needs arena bytes while alive. */
export interface ArenaUser {
  readonly arena: number;
}

interface ArenaBlock {
  readonly address: number;
  readonly bytes: number;
}

/** Where the region comes from. `take` throws what `refusal` makes, told the bytes that there are, when it cannot be had. */
export interface ArenaMemory<Block extends ArenaBlock> {
  readonly take: (bytes: number, refusal: (limit: number) => Error) => Block;
  readonly give: (block: Block) => void;
}

export class Arena<Block extends ArenaBlock = ArenaBlock> {
  private readonly memory: ArenaMemory<Block>;
  private readonly users = new Set<ArenaUser>();
  /** Users that have not run since the region was given back, or could not. */
  private readonly idle = new Set<ArenaUser>();
  private block: Block | undefined;
  /** Whether users have gone since the region was taken. */
  private stale = false;

  constructor(memory: ArenaMemory<Block>) {
    this.memory = memory;
  }

  /** Bytes of the region; 0 where it is not taken. */
  get bytes(): number {
    return this.block?.bytes ?? 0;
  }

  /** Registers a user; memory is taken at the first run. */
  reserve(user: ArenaUser): void {
    if (user.arena === 0) return;
    this.users.add(user);
    if (this.block && this.block.bytes < user.arena) this.drop();
  }

  /**
   * Forgets a user. The region shrinks when the next one runs, where what is left needs less than half of it: whoever runs now keeps it, since
   * users that were forgotten may be found at any time.
   */
  release(user: ArenaUser): void {
    if (this.idle.delete(user) || !this.users.delete(user)) return;
    this.stale = true;
    if (this.users.size === 0) this.drop();
  }

  /** Address of the region, large enough for `user` and for every other that is not idle. */
  address(user: ArenaUser, refusal: (limit: number) => Error): number {
    if (this.idle.delete(user)) this.reserve(user);
    if (this.stale && this.block && this.needed() * 2 <= this.block.bytes) this.drop();
    this.stale = false;
    this.block ??= this.taken(user, refusal);
    return this.block.address;
  }

  private taken(user: ArenaUser, refusal: (limit: number) => Error): Block {
    const needed = this.needed();
    try {
      return this.memory.take(needed, refusal);
    } catch (error) {
      // What cannot be had keeps nobody else from running, now or later.
      this.trim();
      if (needed === user.arena) throw error;
    }
    const block = this.memory.take(user.arena, refusal);
    this.idle.delete(user);
    this.users.add(user);
    return block;
  }

  /** Gives the region back; it is taken again for those that run from now on. */
  trim(): void {
    for (const user of this.users) this.idle.add(user);
    this.users.clear();
    this.drop();
  }

  private needed(): number {
    let most = 0;
    for (const u of this.users) most = Math.max(most, u.arena);
    return most;
  }

  private drop(): void {
    if (this.block) this.memory.give(this.block);
    this.block = undefined;
  }
}
