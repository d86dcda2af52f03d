import { DataError } from "@everlong/core";

/** Sums over the items where every function of `zeros` abstains; `product` is the product of the votes of `members`. */
export interface Statistic {
  readonly members: readonly number[];
  readonly zeros: readonly number[];
  /** Items where all of `zeros` abstain. */
  basis: number;
  /** Sum of the product. */
  sum: number;
  /** Items whose product is +1. */
  ones: number;
  /** Items whose product is 0. */
  noughts: number;
}

/** The sufficient statistics of a FlyingSquid fit: they add up over batches, which makes the model a streaming one. */
export class Statistics {
  readonly #all = new Map<string, Statistic>();
  #items = 0;

  /** N so far. */
  get items(): number {
    return this.#items;
  }

  /** The statistic of a product under a condition; registers it when it is new (before any item was seen). */
  of(members: readonly number[], zeros: readonly number[] = []): Statistic {
    const sorted = [...members].sort((a, b) => a - b);
    const key = `${sorted.join(",")}|${zeros.join(",")}`;
    let found = this.#all.get(key);
    if (!found) {
      if (this.#items > 0)
        throw new DataError("flyingsquid", "a statistic was asked for after the votes had gone by");
      found = { members: sorted, zeros, basis: 0, sum: 0, ones: 0, noughts: 0 };
      this.#all.set(key, found);
    }
    return found;
  }

  /** Adds a batch of signed votes, `[N, M]`. */
  add(votes: Int8Array, functions: number): void {
    const n = votes.length / functions;
    this.#items += n;
    for (const s of this.#all.values()) {
      const { members, zeros } = s;
      if (zeros.length === 0 && members.length === 2) addPair(s, votes, functions);
      else addAny(s, votes, functions);
    }
  }
}

function addPair(s: Statistic, votes: Int8Array, m: number): void {
  const [a, b] = s.members as [number, number];
  let sum = 0;
  let both = 0;
  for (let base = 0; base < votes.length; base += m) {
    const product = votes[base + a]! * votes[base + b]!;
    sum += product;
    both += product & 1;
  }
  const n = votes.length / m;
  s.basis += n;
  s.sum += sum;
  s.ones += (both + sum) / 2;
  s.noughts += n - both;
}

function addAny(s: Statistic, votes: Int8Array, m: number): void {
  for (let base = 0; base < votes.length; base += m) {
    if (s.zeros.some((z) => votes[base + z] !== 0)) continue;
    let product = 1;
    for (const i of s.members) product *= votes[base + i]!;
    s.basis++;
    s.sum += product;
    if (product === 1) s.ones++;
    else if (product === 0) s.noughts++;
  }
}
