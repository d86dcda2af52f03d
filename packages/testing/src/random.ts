// Random numbers for tests: seeded, so that a failure can be run again.

/**
 * Seed of everything that the checks draw; `EVERLONG_SEED=n` chooses another. It is printed with every failure.
 */
export const SEED: number = Number(process.env["EVERLONG_SEED"] ?? 20260101);

/** A small generator (mulberry32); one stream per seed. */
export class Random {
  #state: number;

  constructor(seed: number = SEED) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  }

  /** In [0, 1). */
  uniform(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Standard normal. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Normals, as an array. */
  normals(count: number): Float64Array {
    return Float64Array.from({ length: count }, () => this.normal());
  }
}

/** Draws one element of an input. */
export type Sample = (random: Random, index: number) => number;

export const normal: Sample = (r) => r.normal();
/** Around 1, never near 0. */
export const positive: Sample = (r) => Math.exp(0.5 * r.normal());
/** Of either sign, at least 0.2 from 0, where abs and its kin have a kink. */
export const awayFromZero: Sample = (r, i) => (i % 2 === 0 ? -1 : 1) * (0.2 + r.uniform());
export const uniform =
  (low: number, high: number): Sample =>
  (r) =>
    low + (high - low) * r.uniform();
/** Whole numbers in low .. high - 1. */
export const integers =
  (low: number, high: number): Sample =>
  (r) =>
    low + Math.floor((high - low) * r.uniform());
/** Different values at least 0.1 apart, in random order of sign and place: no ties for max, sort and their kin. */
export const distinct: Sample = (r, i) => (((i * 7919) % 10007) / 10 - 500) * 0.2 + 0.05 * r.uniform();
