// PCG64: a 128-bit linear congruential generator with the XSL-RR output function, numpy's default.
// M. E. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number
// Generation" (2014). Outputs are made a block at a time, in WebAssembly where it may be compiled.

import type { BitGenerator } from "./bit-generator.ts";
import { shuffleInPlace } from "./bounded.ts";
import { PCG64_DATA, pcg64Module, type Pcg64Module } from "./pcg64-module.ts";
import { stepPcg64 } from "./pcg64-step.ts";
import { type Seed, SeedSequence } from "./seed-sequence.ts";

/** Outputs made at a time. */
const BLOCK = 256;
/** From this length on a shuffle in WebAssembly wins over handing it the state. */
const LONG_SHUFFLE = 128;

/** Everything that continues a {@link Pcg64} where it stands. */
export interface Pcg64State {
  /** 128-bit state and increment, as in numpy's `bit_generator.state["state"]`. */
  readonly state: bigint;
  readonly inc: bigint;
  /** The unused upper half of the last 64-bit output, if there is one. */
  readonly half: number | undefined;
}

/** numpy's PCG64, bit for bit. Period 2^128. */
export class Pcg64 implements BitGenerator {
  readonly #inc: Int32Array;
  /** State before the first output of the block. */
  readonly #start: Int32Array = new Int32Array(4);
  /** State after the last output of the block. */
  readonly #end: Int32Array = new Int32Array(4);
  /** 64-bit outputs as (low, high) pairs. */
  readonly #block: Uint32Array = new Uint32Array(2 * BLOCK);
  #at: number = 2 * BLOCK;
  #half = 0;
  #hasHalf = false;

  constructor(seed: Seed | SeedSequence | Pcg64State) {
    if (typeof seed === "object" && "inc" in seed) {
      this.#inc = limbs(seed.inc);
      this.#end.set(limbs(seed.state));
      this.#hasHalf = seed.half !== undefined;
      this.#half = seed.half ?? 0;
      return;
    }
    const sequence = seed instanceof SeedSequence ? seed : new SeedSequence(seed);
    // words come as four little-endian 64-bit numbers: state high, state low, stream high, stream low
    const w = sequence.words(8);
    const initial = bigint([w[2], w[3], w[0], w[1]]);
    const inc = BigInt.asUintN(128, (bigint([w[6], w[7], w[4], w[5]]) << 1n) | 1n);
    this.#inc = limbs(inc);
    this.#end.set(limbs(inc + initial));
    advance(this.#end, this.#inc, new Uint32Array(2));
  }

  /** A copy of the generator's position. */
  get state(): Pcg64State {
    const half = this.#hasHalf ? this.#half : undefined;
    return { state: bigint(this.#current()), inc: bigint(this.#inc), half };
  }

  uint32(): number {
    if (this.#hasHalf) {
      this.#hasHalf = false;
      return this.#half;
    }
    const at = this.#take();
    this.#half = this.#block[at + 1];
    this.#hasHalf = true;
    return this.#block[at];
  }

  uint64(): bigint {
    const at = this.#take();
    return (BigInt(this.#block[at + 1]) << 32n) | BigInt(this.#block[at]);
  }

  /** The next 64 bits as two unsigned words, low before high: {@link uint64} without the bigint. */
  words(out: Uint32Array): void {
    const at = this.#take();
    out[0] = this.#block[at];
    out[1] = this.#block[at + 1];
  }

  double(): number {
    const at = this.#take();
    return (this.#block[at + 1] * 2 ** 21 + (this.#block[at] >>> 11)) * 2 ** -53;
  }

  /** Fills `out` with 0..length-1 in random order: the draws and the order of numpy's `permutation(length)`. */
  permute(out: Int32Array): void {
    const module = out.length < LONG_SHUFFLE ? null : pcg64Module();
    if (module === null) {
      for (let i = 0; i < out.length; i++) out[i] = i;
      shuffleInPlace(this, out);
      return;
    }
    reserve(module, 4 * out.length);
    const words = new Int32Array(module.memory.buffer, 0, 10);
    words.set(this.#current());
    words.set(this.#inc, 4);
    words[8] = this.#half;
    words[9] = this.#hasHalf ? 1 : 0;
    module.shuffle(out.length);
    out.set(new Int32Array(module.memory.buffer, PCG64_DATA, out.length));
    this.#end.set(words.subarray(0, 4));
    this.#at = 2 * BLOCK;
    this.#half = words[8] >>> 0;
    this.#hasHalf = words[9] === 1;
  }

  /** The state before the next output. */
  #current(): Int32Array {
    if (this.#at === 2 * BLOCK) return this.#end;
    const state = this.#start.slice();
    advance(state, this.#inc, new Uint32Array(this.#at));
    return state;
  }

  #take(): number {
    if (this.#at === 2 * BLOCK) {
      this.#start.set(this.#end);
      advance(this.#end, this.#inc, this.#block);
      this.#at = 0;
    }
    const at = this.#at;
    this.#at = at + 2;
    return at;
  }
}

/** {@link stepPcg64}, by the fastest way at hand. */
function advance(state: Int32Array, inc: Int32Array, out: Uint32Array): void {
  const module = pcg64Module();
  if (module === null) return stepPcg64(state, inc, out);
  reserve(module, out.byteLength);
  const words = new Int32Array(module.memory.buffer, 0, 8);
  words.set(state);
  words.set(inc, 4);
  module.fill(out.length / 2);
  out.set(new Uint32Array(module.memory.buffer, PCG64_DATA, out.length));
  state.set(words.subarray(0, 4));
}

function reserve({ memory }: Pcg64Module, bytes: number): void {
  const missing = PCG64_DATA + bytes - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / 65536));
}

function limbs(value: bigint): Int32Array {
  return Int32Array.from([0n, 32n, 64n, 96n], (shift) => Number(BigInt.asIntN(32, value >> shift)));
}

function bigint(words: ArrayLike<number>): bigint {
  return Array.from(words).reduceRight((sum, word) => (sum << 32n) | BigInt(word >>> 0), 0n);
}
