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
  private block: Block | undefined;

  constructor(memory: ArenaMemory<Block>) {
    this.memory = memory;
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
  address(refusal: (limit: number) => Error): number {
    this.block ??= this.memory.take(this.needed(), refusal);
    return this.block.address;
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
