// Where a task's draws come from. `OriginalRandom` replays mad-lab: one PCG64 stream through all training rows and on
// into the test rows, and numpy's global legacy stream beside it. `KeyedRandom` gives each row a stream of its own.

import { KeyedBits, lemire32, masked32, Mt19937, Pcg64, type BitGenerator } from "@everlong/data";
import type { Split } from "./task.ts";

/** The draws a task can make. */
export interface TaskRandom {
  /** A uniform integer from 0 to n - 1. */
  below(n: number): number;
  /** A uniform number in [0, 1). */
  uniform(): number;
  /** A uniform integer from 0 to n - 1 for a position in a sequence; mad-lab takes these from numpy's global stream. */
  position(n: number): number;
  /**
   * Shuffles the list called `list` of `size` items; the answer maps a place to the item there. A uniformly drawn
   * place of a shuffled list is a uniformly drawn item, so only a replay of the original needs to shuffle at all.
   */
  shuffled(list: string, size: number): (place: number) => number;
}

/** The original's streams. Rows must be drawn in the original's order: all of train, then all of test. */
export class OriginalRandom implements TaskRandom {
  readonly #bits: Pcg64;
  readonly #global: BitGenerator;
  readonly #lists: Map<string, Int32Array> = new Map();

  /** @param globalSeed what `np.random.seed` was given; mad-lab's trainer gives it the same seed */
  constructor(seed: number, globalSeed: number = seed) {
    this.#bits = new Pcg64(seed);
    this.#global = new Mt19937(globalSeed);
  }

  below(n: number): number {
    return lemire32(this.#bits, n - 1);
  }

  uniform(): number {
    return this.#bits.double();
  }

  position(n: number): number {
    return masked32(this.#global, n - 1);
  }

  shuffled(list: string, size: number): (place: number) => number {
    let order = this.#lists.get(list);
    if (order?.length !== size) this.#lists.set(list, (order = new Int32Array(size)));
    this.#bits.permute(order);
    return (place) => order[place]!;
  }
}

/** A stream for one row, made from (seed, split, index) alone. */
export class KeyedRandom implements TaskRandom {
  readonly #bits: BitGenerator;

  constructor(seed: number, split: Split, index: number) {
    this.#bits = new KeyedBits(seed, [index, split === "train" ? 0 : 1]);
  }

  below(n: number): number {
    return lemire32(this.#bits, n - 1);
  }

  uniform(): number {
    return this.#bits.double();
  }

  position(n: number): number {
    return lemire32(this.#bits, n - 1);
  }

  shuffled(): (place: number) => number {
    return (place) => place;
  }
}
