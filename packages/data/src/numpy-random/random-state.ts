// numpy's legacy functions (np.random.seed, np.random.randint, ... and RandomState), bit for bit.

import { ConfigError } from "@everlong/core";
import { masked32, masked64, shuffleInPlace } from "./bounded.ts";
import { type ChoiceOptions, cumulative, searchRight, weightedWithoutReplacement } from "./choice.ts";
import { Mt19937 } from "./mt19937.ts";

/**
 * The stream that `np.random.seed(seed)` starts. numpy has frozen it; much published data depends on it.
 *
 * @example
 * const legacy = new RandomState(0);
 * legacy.randint(0, 10, 3); // [5, 0, 3], as np.random.seed(0); np.random.randint(0, 10, 3)
 */
export class RandomState {
  readonly bits: Mt19937;
  #spare: number | undefined;

  /** @param seed an integer from 0 to 2^32 - 1, or several of them */
  constructor(seed: number | readonly number[]) {
    this.bits = new Mt19937(seed);
  }

  /** Uniform doubles in [0, 1): `np.random.rand`, `np.random.random_sample`. */
  random(): number;
  random(size: number): Float64Array<ArrayBuffer>;
  random(size?: number): number | Float64Array {
    if (size === undefined) return this.bits.double();
    const out = new Float64Array(size);
    for (let i = 0; i < size; i++) out[i] = this.bits.double();
    return out;
  }

  /** Uniform integers in [low, high), exact up to 2^53. @throws ConfigError when the range is empty */
  randint(low: number, high: number): number;
  randint(low: number, high: number, size: number): Float64Array<ArrayBuffer>;
  randint(low: number, high: number, size?: number): number | Float64Array {
    const max = high - 1 - low;
    if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high) || max < 0 || !Number.isSafeInteger(max)) {
      throw new ConfigError("randint", "empty or impossible range", {
        expected: "integers low < high",
        got: `${low}, ${high}`,
      });
    }
    const wide = BigInt(max);
    const draw = max < 2 ** 32 ? () => masked32(this.bits, max) : () => Number(masked64(this.bits, wide));
    if (size === undefined) return low + draw();
    const out = new Float64Array(size);
    for (let i = 0; i < size; i++) out[i] = low + draw();
    return out;
  }

  /** Indices below `n`, as `np.random.choice(n, size, replace, p)`. */
  choice(n: number, size: number, options: Omit<ChoiceOptions, "shuffle"> = {}): Int32Array<ArrayBuffer> {
    const { replace = true, p } = options;
    if (!replace && size > n) {
      throw new ConfigError("choice", "more items than there are", {
        expected: `at most ${n}`,
        got: `${size}`,
      });
    }
    const random = (): number => this.bits.double();
    if (!p) return replace ? Int32Array.from(this.randint(0, n, size)) : this.permutation(n).slice(0, size);
    const cdf = cumulative("choice", p, n, size, replace);
    return replace
      ? Int32Array.from({ length: size }, () => searchRight(cdf, random()))
      : weightedWithoutReplacement(p, size, random);
  }

  /** Standard normal values: `np.random.randn`, by the polar method; values come in pairs. */
  randn(): number;
  randn(size: number): Float64Array<ArrayBuffer>;
  randn(size?: number): number | Float64Array {
    if (size === undefined) return this.#gauss();
    const out = new Float64Array(size);
    for (let i = 0; i < size; i++) out[i] = this.#gauss();
    return out;
  }

  /** Shuffles an array in place. */
  shuffle(array: { [i: number]: unknown; readonly length: number }): void {
    shuffleInPlace(this.bits, array);
  }

  /** A random order of 0..n-1. */
  permutation(n: number): Int32Array<ArrayBuffer> {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    shuffleInPlace(this.bits, order);
    return order;
  }

  #gauss(): number {
    const spare = this.#spare;
    if (spare !== undefined) {
      this.#spare = undefined;
      return spare;
    }
    let x1 = 0;
    let x2 = 0;
    let r2 = 0;
    do {
      x1 = 2 * this.bits.double() - 1;
      x2 = 2 * this.bits.double() - 1;
      r2 = x1 * x1 + x2 * x2;
    } while (r2 >= 1 || r2 === 0);
    const f = Math.sqrt((-2 * Math.log(r2)) / r2);
    this.#spare = f * x1;
    return f * x2;
  }
}
