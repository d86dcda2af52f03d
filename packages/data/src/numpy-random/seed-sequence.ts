// numpy's SeedSequence: turns a seed of any size into well-mixed state words.
// Design: M. E. O'Neill, "Developing a seed_seq alternative" (2015); constants as in numpy, which fixes them for good.

import { ConfigError } from "@everlong/core";

const INIT_A = 0x43b0d7e5;
const MULT_A = 0x931e8875;
const INIT_B = 0x8b51f9dd;
const MULT_B = 0x58f38ded;
const MIX_L = 0xca01f9dd;
const MIX_R = 0x4973f715;
const POOL = 4;

/** A seed: an integer >= 0 (of any size, as a bigint) or several of them. */
export type Seed = number | bigint | readonly (number | bigint)[];

/**
 * Mixed entropy from which generators are seeded; equal to numpy's `SeedSequence(entropy, spawn_key=...)`.
 *
 * @example new SeedSequence(12345).words(8)
 */
export class SeedSequence {
  readonly entropy: Seed;
  readonly spawnKey: readonly number[];
  readonly #pool: Uint32Array;
  #children = 0;

  /** @throws ConfigError for a negative or fractional seed */
  constructor(entropy: Seed, spawnKey: readonly number[] = []) {
    this.entropy = entropy;
    this.spawnKey = spawnKey;
    const words = toWords(entropy);
    if (spawnKey.length > 0) {
      while (words.length < POOL) words.push(0);
      words.push(...toWords(spawnKey));
    }
    this.#pool = mix(words);
  }

  /** The first `count` 32-bit words of state. */
  words(count: number): Uint32Array<ArrayBuffer> {
    const out = new Uint32Array(count);
    let factor = INIT_B;
    for (let i = 0; i < count; i++) {
      const word = this.#pool[i % POOL] ^ factor;
      factor = Math.imul(factor, MULT_B);
      const scaled = Math.imul(word, factor);
      out[i] = scaled ^ (scaled >>> 16);
    }
    return out;
  }

  /** `count` new independent sequences; a second call gives others. */
  spawn(count: number): SeedSequence[] {
    return Array.from(
      { length: count },
      () => new SeedSequence(this.entropy, [...this.spawnKey, this.#children++]),
    );
  }
}

function mix(entropy: readonly number[]): Uint32Array {
  let factor = INIT_A;
  const hash = (value: number): number => {
    const word = value ^ factor;
    factor = Math.imul(factor, MULT_A);
    const scaled = Math.imul(word, factor);
    return scaled ^ (scaled >>> 16);
  };
  const blend = (a: number, b: number): number => {
    const word = Math.imul(a, MIX_L) - Math.imul(b, MIX_R);
    return word ^ (word >>> 16);
  };
  const pool = new Uint32Array(POOL);
  for (let i = 0; i < POOL; i++) pool[i] = hash(entropy[i] ?? 0);
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) if (from !== to) pool[to] = blend(pool[to], hash(pool[from]));
  }
  for (let from = POOL; from < entropy.length; from++) {
    for (let to = 0; to < POOL; to++) pool[to] = blend(pool[to], hash(entropy[from]));
  }
  return pool;
}

function toWords(entropy: Seed): number[] {
  if (typeof entropy === "object") return entropy.flatMap((part) => toWords(part));
  if (typeof entropy === "number" && !Number.isSafeInteger(entropy)) {
    throw new ConfigError("SeedSequence", "seed is not an integer", {
      expected: "an integer; a bigint above 2^53",
      got: `${entropy}`,
    });
  }
  let rest = BigInt(entropy);
  if (rest < 0n) throw new ConfigError("SeedSequence", "seed is negative", { got: `${entropy}` });
  const words: number[] = [];
  do {
    words.push(Number(rest & 0xffffffffn));
    rest >>= 32n;
  } while (rest > 0n);
  return words;
}
