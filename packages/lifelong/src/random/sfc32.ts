import { RandomStream, type Seed } from "./random-stream.ts";

/** Fast generator for what is drawn millions of times: exploration and replay (sfc32, Doty-Humphrey's PractRand). */
export class Sfc32 {
  readonly #s: Uint32Array;

  constructor(seed: Seed) {
    const wide = new RandomStream(seed);
    const [a, b] = [wide.raw(), wide.raw()];
    this.#s = Uint32Array.of(
      Number(a & 0xffffffffn),
      Number(a >> 32n),
      Number(b & 0xffffffffn),
      Number(b >> 32n),
    );
  }

  /** 32 random bits as an unsigned integer. */
  bits(): number {
    const s = this.#s;
    const out = (s[0]! + s[1]! + s[3]!) >>> 0;
    s[3]!++;
    s[0] = s[1]! ^ (s[1]! >>> 9);
    s[1] = s[2]! + (s[2]! << 3);
    s[2] = ((s[2]! << 21) | (s[2]! >>> 11)) + out;
    return out;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.bits() / 2 ** 32;
  }

  /** Integer below `n`. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** The four words of the state; writing them back continues from there. */
  state(): Uint32Array {
    return this.#s.slice();
  }

  restore(state: ArrayLike<number>): void {
    this.#s.set(Array.from(state));
  }
}
