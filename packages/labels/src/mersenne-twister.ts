// The Mersenne Twister (Matsumoto and Nishimura 1998) with the seeding and draws of Python's `random` and of numpy's legacy
// RandomState. Results published with a Python seed can only be repeated with the same stream.

const N = 624;
const M = 397;

/** MT19937 as a stream of 32-bit words. */
export class MersenneTwister {
  readonly #state = new Uint32Array(N);
  #next = N;

  /** @param seeding `array` is Python's `random.seed(int)`, `integer` numpy's `RandomState(int)`. */
  constructor(seed: number, seeding: "array" | "integer") {
    if (seeding === "integer") this.#fill(seed >>> 0);
    else {
      this.#fill(19650218);
      const s = this.#state;
      const key = [seed >>> 0];
      let i = 1;
      for (let k = 0; k < N; k++) {
        s[i] = ((s[i]! ^ Math.imul(s[i - 1]! ^ (s[i - 1]! >>> 30), 1664525)) + key[0]!) >>> 0;
        if (++i >= N) [s[0], i] = [s[N - 1]!, 1];
      }
      for (let k = 0; k < N - 1; k++) {
        s[i] = ((s[i]! ^ Math.imul(s[i - 1]! ^ (s[i - 1]! >>> 30), 1566083941)) - i) >>> 0;
        if (++i >= N) [s[0], i] = [s[N - 1]!, 1];
      }
      s[0] = 0x80000000;
    }
  }

  #fill(seed: number): void {
    const s = this.#state;
    s[0] = seed;
    for (let i = 1; i < N; i++) s[i] = Math.imul(1812433253, s[i - 1]! ^ (s[i - 1]! >>> 30)) + i;
  }

  /** The next 32 bits. */
  uint32(): number {
    const s = this.#state;
    if (this.#next >= N) {
      for (let k = 0; k < N; k++) {
        const y = (s[k]! & 0x80000000) | (s[(k + 1) % N]! & 0x7fffffff);
        s[k] = s[(k + M) % N]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.#next = 0;
    }
    let y = s[this.#next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** A double in [0, 1) with 53 bits. */
  double(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** numpy's `RandomState.randint(n)`: masked rejection. */
  below(n: number): number {
    const largest = n - 1;
    if (largest === 0) return 0;
    const mask = 2 ** (32 - Math.clz32(largest)) - 1;
    for (;;) {
      const value = (this.uint32() & mask) >>> 0;
      if (value <= largest) return value;
    }
  }

  /** Python's `random.shuffle`, in place: Fisher-Yates from the end, each draw by rejection on the bit length. */
  shuffle<T>(list: T[]): void {
    for (let i = list.length - 1; i > 0; i--) {
      const bits = 32 - Math.clz32(i + 1);
      let j = this.uint32() >>> (32 - bits);
      while (j > i) j = this.uint32() >>> (32 - bits);
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
  }
}
