// MT19937, the generator behind numpy's legacy functions (np.random.seed, RandomState).
// M. Matsumoto, T. Nishimura, "Mersenne Twister" (1998).

import { ConfigError } from "@everlong/core";
import type { BitGenerator } from "./bit-generator.ts";

const N = 624;
const M = 397;

/** The Mersenne Twister, seeded as `np.random.seed(seed)` does. */
export class Mt19937 implements BitGenerator {
  readonly #key: Uint32Array = new Uint32Array(N);
  #at: number = N;

  /** @param seed an integer from 0 to 2^32 - 1, or several of them */
  constructor(seed: number | readonly number[]) {
    const parts = typeof seed === "number" ? [seed] : seed;
    for (const part of parts) {
      if (!Number.isInteger(part) || part < 0 || part > 0xffffffff) {
        throw new ConfigError("Mt19937", "seed out of range", {
          expected: "integers from 0 to 4294967295",
          got: `${part}`,
        });
      }
    }
    if (typeof seed === "number") this.#fill(seed);
    else this.#fillFrom(seed);
  }

  uint32(): number {
    if (this.#at === N) this.#refill();
    let y = this.#key[this.#at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  uint64(): bigint {
    const upper = BigInt(this.uint32());
    return (upper << 32n) | BigInt(this.uint32());
  }

  double(): number {
    const a = this.uint32() >>> 5;
    return (a * 2 ** 26 + (this.uint32() >>> 6)) * 2 ** -53;
  }

  #fill(seed: number): void {
    const key = this.#key;
    key[0] = seed;
    for (let i = 1; i < N; i++) key[i] = Math.imul(1812433253, key[i - 1] ^ (key[i - 1] >>> 30)) + i;
  }

  // the initialisation by array of the authors' 2002 code
  #fillFrom(seed: readonly number[]): void {
    const key = this.#key;
    this.#fill(19650218);
    if (seed.length === 0)
      throw new ConfigError("Mt19937", "seed is empty", { expected: "at least one integer" });
    let i = 1;
    let j = 0;
    const wrap = (): void => {
      if (++i === N) {
        key[0] = key[N - 1];
        i = 1;
      }
    };
    for (let k = Math.max(N, seed.length); k > 0; k--) {
      key[i] = (key[i] ^ Math.imul(key[i - 1] ^ (key[i - 1] >>> 30), 1664525)) + seed[j] + j;
      wrap();
      j = (j + 1) % seed.length;
    }
    for (let k = N - 1; k > 0; k--) {
      key[i] = (key[i] ^ Math.imul(key[i - 1] ^ (key[i - 1] >>> 30), 1566083941)) - i;
      wrap();
    }
    key[0] = 0x80000000;
  }

  #refill(): void {
    const key = this.#key;
    for (let i = 0; i < N; i++) {
      const y = (key[i] & 0x80000000) | (key[(i + 1) % N] & 0x7fffffff);
      key[i] = key[(i + M) % N] ^ (y >>> 1) ^ (-(y & 1) & 0x9908b0df);
    }
    this.#at = 0;
  }
}
