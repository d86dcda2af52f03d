// PCG64 with NumPy's seeding and draws (O'Neill 2014; NumPy's `default_rng`). The original seeds curricula, agents and
// environments this way, so the same seeds give the same curricula, levels and random actions here.

const MASK_32 = 0xffffffffn;
const MASK_64 = 0xffffffffffffffffn;
const MASK_128 = (1n << 128n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

/** A seed: a non-negative integer of any size. */
export type Seed = number | bigint;

/** Generator of reproducible draws, equal to `numpy.random.default_rng(seed)` in every bit. */
export class Pcg64 {
  #state: bigint;
  #increment: bigint;
  /** High half of the last 64-bit draw, if only its low half was used. */
  #spare: number | null = null;

  constructor(seed: Seed) {
    const words = seedWords(BigInt(seed), 8);
    const wide = (at: number): bigint => BigInt(words[at]!) | (BigInt(words[at + 1]!) << 32n);
    const start = (wide(0) << 64n) | wide(2);
    const stream = (wide(4) << 64n) | wide(6);
    this.#increment = ((stream << 1n) | 1n) & MASK_128;
    this.#state = 0n;
    this.#advance();
    this.#state = (this.#state + start) & MASK_128;
    this.#advance();
  }

  /** 64 random bits; seeds of curricula and variants are such draws. */
  raw(): bigint {
    this.#advance();
    const folded = ((this.#state >> 64n) ^ this.#state) & MASK_64;
    const turn = this.#state >> 122n;
    return ((folded >> turn) | (folded << (64n - turn))) & MASK_64;
  }

  /** Uniform in [0, 1) with 53 bits. */
  uniform(): number {
    return Number(this.raw() >> 11n) / 2 ** 53;
  }

  /** Integer in [low, high), by Lemire's multiplication. Draws nothing if there is only one. */
  integer(low: number, high: number): number {
    const count = high - low;
    if (count <= 1) return low;
    const threshold = (2 ** 32 - count) % count;
    for (;;) {
      const product = BigInt(this.#word()) * BigInt(count);
      if (Number(product & MASK_32) >= threshold) return low + Number(product >> 32n);
    }
  }

  /** One element. */
  pick<T>(list: readonly T[]): T {
    return list[this.integer(0, list.length)]!;
  }

  /** A shuffled copy (Fisher and Yates, from the end). */
  permutation<T>(list: readonly T[]): T[] {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.#atMost(i);
      [out[i], out[j]] = [out[j]!, out[i]!];
    }
    return out;
  }

  /** Normal variate (Box and Muller); not NumPy's ziggurat. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** What {@link Pcg64.fromState} continues from. */
  state(): string {
    return [this.#state, this.#increment, this.#spare ?? "-"].map(String).join(":");
  }

  /** A generator that goes on where `state` was taken. */
  static fromState(state: string): Pcg64 {
    const [value, increment, spare] = state.split(":") as [string, string, string];
    const generator = new Pcg64(0);
    generator.#state = BigInt(value);
    generator.#increment = BigInt(increment);
    generator.#spare = spare === "-" ? null : Number(spare);
    return generator;
  }

  #advance(): void {
    this.#state = (this.#state * MULTIPLIER + this.#increment) & MASK_128;
  }

  // shuffles draw by masked rejection, unlike `integer`: NumPy has both
  #atMost(max: number): number {
    const mask = 2 ** (32 - Math.clz32(max)) - 1;
    for (;;) {
      const value = (this.#word() & mask) >>> 0;
      if (value <= max) return value;
    }
  }

  #word(): number {
    if (this.#spare !== null) {
      const word = this.#spare;
      this.#spare = null;
      return word;
    }
    const bits = this.raw();
    this.#spare = Number(bits >> 32n);
    return Number(bits & MASK_32);
  }
}

// NumPy's SeedSequence: mixes the seed's words into a pool of four and expands it.
function seedWords(seed: bigint, count: number): number[] {
  const entropy: number[] = [];
  for (let rest = seed; rest > 0n; rest >>= 32n) entropy.push(Number(rest & MASK_32));
  if (entropy.length === 0) entropy.push(0);

  let hashConstant = 0x43b0d7e5;
  const hash = (value: number): number => {
    const mixed = (value ^ hashConstant) >>> 0;
    hashConstant = Math.imul(hashConstant, 0x931e8875) >>> 0;
    const product = Math.imul(mixed, hashConstant) >>> 0;
    return (product ^ (product >>> 16)) >>> 0;
  };
  const mix = (x: number, y: number): number => {
    const z = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) >>> 0;
    return (z ^ (z >>> 16)) >>> 0;
  };
  const pool = Array.from({ length: 4 }, (_, i) => hash(entropy[i] ?? 0));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to]!, hash(pool[from]!));
  }
  for (const word of entropy.slice(4)) {
    for (let to = 0; to < 4; to++) pool[to] = mix(pool[to]!, hash(word));
  }

  let outConstant = 0x8b51f9dd;
  return Array.from({ length: count }, (_, i) => {
    const mixed = (pool[i % 4]! ^ outConstant) >>> 0;
    outConstant = Math.imul(outConstant, 0x58f38ded) >>> 0;
    const product = Math.imul(mixed, outConstant) >>> 0;
    return (product ^ (product >>> 16)) >>> 0;
  });
}
