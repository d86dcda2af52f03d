// numpy's `Generator` (np.random.default_rng), bit for bit, for making and replaying data. Models and training take
// their randomness from @everlong/core, which is keyed and device-independent; this class is a stream.

import { ConfigError } from "@everlong/core";
import type { BitGenerator } from "./bit-generator.ts";
import { BitPacket, lemire32, lemire64, shuffleInPlace } from "./bounded.ts";
import { Pcg64, type Pcg64State } from "./pcg64.ts";
import { type ChoiceOptions, cumulative, searchRight, weightedWithoutReplacement } from "./choice.ts";
import type { Seed, SeedSequence } from "./seed-sequence.ts";
import { standardNormal } from "./ziggurat.ts";

/** Integer types of `Generator.integers`; the type decides how many bits a draw takes. */
export type IntegerDType =
  | "int64"
  | "uint64"
  | "int32"
  | "uint32"
  | "int16"
  | "uint16"
  | "int8"
  | "uint8"
  | "bool";

/** Options of {@link Generator.integers}. */
export interface IntegersOptions {
  /** Default int64, as in numpy. */
  readonly dtype?: IntegerDType;
  /** Whether `high` itself may be drawn; default false. */
  readonly endpoint?: boolean;
}

const WIDTH = { bool: 1, int8: 8, uint8: 8, int16: 16, uint16: 16 } as const;

const RANGES: { readonly [D in IntegerDType]: readonly [number, number] } = {
  int64: [-(2 ** 53) + 1, 2 ** 53 - 1],
  uint64: [0, 2 ** 53 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  uint16: [0, 2 ** 16 - 1],
  int8: [-128, 127],
  uint8: [0, 255],
  bool: [0, 1],
};

/**
 * Draws from PCG64 in exactly numpy's order. Methods without a size draw one value; with a size they fill an array,
 * in the same order as one numpy call of that size.
 *
 * @example
 * const rng = defaultRng(12345);
 * rng.integers(0, 10); // 6, as np.random.default_rng(12345).integers(0, 10)
 */
export class Generator {
  readonly bits: Pcg64;

  constructor(bits: Pcg64) {
    this.bits = bits;
  }

  /** Where the stream stands; `defaultRng(state)` continues it. */
  get state(): Pcg64State {
    return this.bits.state;
  }

  /** Uniform doubles in [0, 1). */
  random(): number;
  random(size: number): Float64Array<ArrayBuffer>;
  random(size?: number): number | Float64Array {
    if (size === undefined) return this.bits.double();
    const out = new Float64Array(checkSize(size));
    for (let i = 0; i < size; i++) out[i] = this.bits.double();
    return out;
  }

  /**
   * Uniform integers in [low, high), exact up to 2^53. 64-bit types come as doubles.
   *
   * @throws ConfigError when the range is empty or does not fit the dtype
   */
  integers(low: number, high: number, size?: undefined, options?: IntegersOptions): number;
  integers(low: number, high: number, size: number, options?: IntegersOptions): Float64Array<ArrayBuffer>;
  integers(low: number, high: number, size?: number, options: IntegersOptions = {}): number | Float64Array {
    const { dtype = "int64", endpoint = false } = options;
    const last = endpoint ? high : high - 1;
    const [least, most] = RANGES[dtype];
    if (
      !Number.isSafeInteger(low) ||
      !Number.isSafeInteger(last) ||
      low < least ||
      last > most ||
      low > last
    ) {
      throw new ConfigError("integers", `empty or impossible range for ${dtype}`, {
        expected: `integers ${least} <= low ${endpoint ? "<=" : "<"} high, high within ${dtype}`,
        got: `${low}, ${high}`,
      });
    }
    const draw = boundedDraw(this.bits, last - low, dtype);
    if (size === undefined) return low + draw();
    const out = new Float64Array(checkSize(size));
    for (let i = 0; i < size; i++) out[i] = low + draw();
    return out;
  }

  /**
   * Indices below `n`, as `rng.choice(n, size, ...)`; with an array of items numpy draws the same indices.
   *
   * @throws ConfigError for n < 1, more distinct items than there are, or weights that do not fit
   */
  choice(n: number, size?: undefined, options?: ChoiceOptions): number;
  choice(n: number, size: number, options?: ChoiceOptions): Int32Array<ArrayBuffer>;
  choice(n: number, size?: number, options: ChoiceOptions = {}): number | Int32Array {
    const { replace = true, p, shuffle = true } = options;
    checkPopulation("choice", n);
    const count = checkSize(size ?? 1);
    if (!replace && count > n) {
      throw new ConfigError("choice", "more items than there are", {
        expected: `at most ${n}`,
        got: `${count}`,
      });
    }
    const random = (): number => this.bits.double();
    let out: Int32Array;
    if (p) {
      const cdf = cumulative("choice", p, n, count, replace);
      out = replace
        ? Int32Array.from({ length: count }, () => searchRight(cdf, random()))
        : weightedWithoutReplacement(p, count, random);
    } else if (replace) out = Int32Array.from({ length: count }, () => lemire32(this.bits, n - 1));
    else out = distinct(this.bits, n, count, shuffle);
    return size === undefined ? out[0] : out;
  }

  /** Standard normal numbers, by numpy's ziggurat. */
  standardNormal(): number;
  standardNormal(size: number): Float64Array<ArrayBuffer>;
  standardNormal(size?: number): number | Float64Array {
    return size === undefined ? standardNormal(this.bits) : this.normal(0, 1, size);
  }

  /** Normal numbers of the given mean and standard deviation. @throws ConfigError for a negative deviation */
  normal(mean: number, deviation: number): number;
  normal(mean: number, deviation: number, size: number): Float64Array<ArrayBuffer>;
  normal(mean: number, deviation: number, size?: number): number | Float64Array {
    if (!(deviation >= 0)) {
      throw new ConfigError("normal", "deviation out of range", { expected: ">= 0", got: `${deviation}` });
    }
    if (size === undefined) return mean + deviation * standardNormal(this.bits);
    const out = new Float64Array(checkSize(size));
    for (let i = 0; i < size; i++) out[i] = mean + deviation * standardNormal(this.bits);
    return out;
  }

  /** Shuffles an array in place. */
  shuffle(array: { [i: number]: unknown; readonly length: number }): void {
    shuffleInPlace(this.bits, array);
  }

  /** A random order of 0..n-1. To permute items as numpy's `permutation(items)`, index them with it. */
  permutation(n: number): Int32Array<ArrayBuffer> {
    const order = new Int32Array(checkSize(n));
    this.bits.permute(order);
    return order;
  }
}

/** numpy's `np.random.default_rng(seed)`; a {@link Pcg64State} continues a stream. */
export function defaultRng(seed: Seed | SeedSequence | Pcg64State): Generator {
  return new Generator(new Pcg64(seed));
}

function boundedDraw(bits: BitGenerator, max: number, dtype: IntegerDType): () => number {
  if (dtype in WIDTH) {
    const packet = new BitPacket(bits, WIDTH[dtype as keyof typeof WIDTH]);
    return () => packet.bounded(max);
  }
  if (max < 2 ** 32) return () => lemire32(bits, max);
  const wide = BigInt(max);
  return () => Number(lemire64(bits, wide));
}

/** `count` different indices below `n`: the end of a shuffled range, or Floyd's method for small samples. */
function distinct(bits: BitGenerator, n: number, count: number, shuffle: boolean): Int32Array {
  if (n > 10_000 && count > Math.floor(n / (shuffle ? 50 : 20))) {
    const all = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i >= Math.max(n - count, 1); i--) swap(all, i, lemire32(bits, i));
    return all.slice(n - count);
  }
  const out = new Int32Array(count);
  const seen = new Set<number>();
  for (let j = n - count; j < n; j++) {
    const drawn = lemire32(bits, j);
    const value = seen.has(drawn) ? j : drawn;
    seen.add(value);
    out[j - n + count] = value;
  }
  if (shuffle) for (let i = count - 1; i >= 1; i--) swap(out, i, lemire32(bits, i));
  return out;
}

function swap(array: Int32Array, i: number, j: number): void {
  const kept = array[i];
  array[i] = array[j];
  array[j] = kept;
}

function checkSize(size: number): number {
  if (Number.isSafeInteger(size) && size >= 0) return size;
  throw new ConfigError("random", "size is not a count", { expected: "an integer >= 0", got: `${size}` });
}

function checkPopulation(op: string, n: number): void {
  if (Number.isInteger(n) && n >= 1 && n < 2 ** 31) return;
  throw new ConfigError(op, "population out of range", { expected: "1 to 2147483647 items", got: `${n}` });
}
