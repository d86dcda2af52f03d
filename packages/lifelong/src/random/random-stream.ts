import { defaultRng, type Generator } from "@everlong/data";

/** A seed: a non-negative integer of any size. */
export type Seed = number | bigint;

/**
 * Reproducible draws, equal to `numpy.random.default_rng(seed)` in every bit: the original seeds curricula, agents and
 * environments this way, so the same seeds give the same curricula, levels and random actions here.
 */
export class RandomStream {
  readonly #generator: Generator;

  constructor(seed: Seed | Generator) {
    this.#generator = typeof seed === "object" ? seed : defaultRng(seed);
  }

  /** 64 random bits; seeds of curricula and variants are such draws. */
  raw(): bigint {
    return this.#generator.bits.uint64();
  }

  /** Uniform in [0, 1) with 53 bits. */
  uniform(): number {
    return this.#generator.random();
  }

  /** Integer in [low, high). Draws nothing if there is only one. */
  integer(low: number, high: number): number {
    return this.#generator.integers(low, high);
  }

  /** One element. */
  pick<T>(list: readonly T[]): T {
    return list[this.integer(0, list.length)]!;
  }

  /** A shuffled copy. */
  permutation<T>(list: readonly T[]): T[] {
    return Array.from(this.#generator.permutation(list.length), (i) => list[i]!);
  }

  /** Text that {@link RandomStream.fromState} continues from. */
  state(): string {
    const { state, inc, half } = this.#generator.state;
    return [state, inc, half ?? "-"].map(String).join(":");
  }

  /** A stream that goes on where `state` was taken. */
  static fromState(text: string): RandomStream {
    const [state, inc, half] = text.split(":") as [string, string, string];
    return new RandomStream(
      defaultRng({ state: BigInt(state), inc: BigInt(inc), half: half === "-" ? undefined : Number(half) }),
    );
  }
}
