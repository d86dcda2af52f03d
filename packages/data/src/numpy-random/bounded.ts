// Integers below a bound from random bits, as numpy draws them: by multiplication and rejection (D. Lemire, "Fast
// Random Integer Generation in an Interval", 2019) in `Generator`, by masking and rejection in the legacy
// functions and in every shuffle. `max` is the largest value wanted, so bounds of 2^32 and 2^64 can be told.

import type { BitGenerator } from "./bit-generator.ts";

const MAX32 = 0xffffffff;

/** Uniform in 0..max (max < 2^32), Lemire's method; takes no bits when max is 0. */
export function lemire32(bits: BitGenerator, max: number): number {
  if (max === 0) return 0;
  if (max === MAX32) return bits.uint32();
  const bound = max + 1;
  let x = bits.uint32();
  let low = Math.imul(x, bound) >>> 0;
  if (low < bound) {
    const threshold = (MAX32 - max) % bound;
    while (low < threshold) {
      x = bits.uint32();
      low = Math.imul(x, bound) >>> 0;
    }
  }
  return multiplyHigh(x, bound);
}

/** Uniform in 0..max for any max < 2^64, as numpy's 64-bit integer types are drawn. */
export function lemire64(bits: BitGenerator, max: bigint): bigint {
  if (max <= 0xffffffffn) return BigInt(lemire32(bits, Number(max)));
  if (max === 0xffffffffffffffffn) return bits.uint64();
  const bound = max + 1n;
  let product = bits.uint64() * bound;
  let low = BigInt.asUintN(64, product);
  if (low < bound) {
    const threshold = (0xffffffffffffffffn - max) % bound;
    while (low < threshold) {
      product = bits.uint64() * bound;
      low = BigInt.asUintN(64, product);
    }
  }
  return product >> 64n;
}

/** Uniform in 0..max (max < 2^32) by masking; takes no bits when max is 0. */
export function masked32(bits: BitGenerator, max: number): number {
  if (max === 0) return 0;
  const mask = MAX32 >>> Math.clz32(max);
  let value = (bits.uint32() & mask) >>> 0;
  while (value > max) value = (bits.uint32() & mask) >>> 0;
  return value;
}

/** Uniform in 0..max for any max < 2^64 by masking. */
export function masked64(bits: BitGenerator, max: bigint): bigint {
  if (max <= 0xffffffffn) return BigInt(masked32(bits, Number(max)));
  const mask = (1n << BigInt(max.toString(2).length)) - 1n;
  let value = bits.uint64() & mask;
  while (value > max) value = bits.uint64() & mask;
  return value;
}

/**
 * Draws of 16, 8 or 1 bits, several of which share one 32-bit draw. One packet serves one array: numpy throws the
 * unused bits away when a call ends.
 */
export class BitPacket {
  readonly #bits: BitGenerator;
  readonly #width: 16 | 8 | 1;
  #word = 0;
  #left = 0;

  constructor(bits: BitGenerator, width: 16 | 8 | 1) {
    this.#bits = bits;
    this.#width = width;
  }

  /** The next `width` bits. */
  next(): number {
    if (this.#left === 0) {
      this.#word = this.#bits.uint32();
      this.#left = 32 / this.#width;
    } else this.#word >>>= this.#width;
    this.#left--;
    return this.#word & (2 ** this.#width - 1);
  }

  /** Uniform in 0..max, max < 2^width. One-bit packets answer with the bit itself. */
  bounded(max: number): number {
    const full = 2 ** this.#width - 1;
    if (max === 0) return 0;
    if (max === full) return this.next();
    const bound = max + 1;
    let product = this.next() * bound;
    if ((product & full) < bound) {
      const threshold = (full - max) % bound;
      while ((product & full) < threshold) product = this.next() * bound;
    }
    return product >>> this.#width;
  }
}

/** Shuffles in place as every numpy shuffle does: from the last place down, by masked draws. */
export function shuffleInPlace(
  bits: BitGenerator,
  array: { [i: number]: unknown; readonly length: number },
): void {
  for (let i = array.length - 1; i > 0; i--) {
    const j = masked32(bits, i);
    const kept = array[i];
    array[i] = array[j];
    array[j] = kept;
  }
}

/** floor(a * b / 2^32) of unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  // the product is exact in a double up to 2^53
  if (b <= 0x200000) return Math.floor((a * b) / 2 ** 32);
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  return Math.floor((a * bHigh + Math.floor((a * bLow) / 0x10000)) / 0x10000);
}
