// Philox4x32-10, a counter-based generator: any part of any stream can be made without the parts before it.
// J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).

import { ConfigError } from "@everlong/core";
import type { BitGenerator } from "../numpy-random/bit-generator.ts";

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** The four words of block `counter` under `key` (each word unsigned 32-bit). */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
  out: Uint32Array,
): void {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const h0 = multiplyHigh(M0, c0);
    const h1 = multiplyHigh(M1, c2);
    const l0 = Math.imul(M0, c0);
    const l1 = Math.imul(M1, c2);
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 = (k0 + W0) | 0;
    k1 = (k1 + W1) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/**
 * The stream of bits that belongs to a seed and a place, e.g. (split, index of an example). Streams of different
 * places are independent, so examples can be made in any order by any number of workers.
 */
export class KeyedBits implements BitGenerator {
  readonly #key: readonly [number, number];
  readonly #place: readonly [number, number];
  readonly #out: Uint32Array = new Uint32Array(4);
  #block = 0;
  #at = 4;

  /**
   * @param seed an integer from 0 to 2^53 - 1
   * @param place two integers from 0 to 2^32 - 1
   */
  constructor(seed: number, place: readonly [number, number]) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new ConfigError("KeyedBits", "seed out of range", { expected: "0 to 2^53 - 1", got: `${seed}` });
    }
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
    this.#place = place;
  }

  uint32(): number {
    if (this.#at === 4) {
      philox4x32([this.#block++, 0, this.#place[0], this.#place[1]], this.#key, this.#out);
      this.#at = 0;
    }
    return this.#out[this.#at++];
  }

  uint64(): bigint {
    const low = BigInt(this.uint32());
    return (BigInt(this.uint32()) << 32n) | low;
  }

  double(): number {
    const low = this.uint32() >>> 11;
    return (this.uint32() * 2 ** 21 + low) * 2 ** -53;
  }
}

function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const t = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0;
  const u = (Math.imul(aLow, bHigh) + (t & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (t >>> 16) + (u >>> 16)) | 0;
}
